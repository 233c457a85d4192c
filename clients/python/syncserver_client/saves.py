"""What one row that is edited has to save: pure, no clock, no I/O. Times are monotonic seconds, the caller's.

Three states of the row's fields: `good`, which the server is known to have; `queued`, that with the saves on it
which have no answer yet; and `wanted`, which the app asked for last. A save says what leads from `queued` to `wanted`.
Where another device won, `good` is its version from then on, and nothing is saved until the app has chosen. Of a kind
that joins, that is only so where both said something of the same member.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from syncserver_client.debounce import Debounce
from syncserver_client.difference import LOCATOR, Unsayable, apart, changed, replacing, without_nulls
from syncserver_client.errors import Rejected
from syncserver_client.model import Row
from syncserver_client.mutation import Ack
from syncserver_client.overlay import merged
from syncserver_client.wire import JsonObject, canonical, decode_object, encode_strictly

GONE = frozenset({"removed", "not_found"})  # codes of a row that is not there


@dataclass(frozen=True, slots=True)
class Kind:
    """How rows of a resource are saved. `fields`: those that are; the rest is not ours.

    `open`: fields that hold any JSON, saved by the members that differ. `place`: one that goes whole. `final`: whether
    a row with these fields takes no more saves. `joins`: what lost is saved again by itself over another device's,
    where the two said nothing of the same member.
    """

    resource: str
    fields: tuple[str, ...]
    open: tuple[str, ...] = ()
    place: str | None = None
    final: Callable[[JsonObject], bool] = lambda _: False
    joins: bool = False


SESSION = Kind(
    "reading_sessions",
    ("locator", "percentage", "active_seconds", "state"),
    open=("state",),
    place="locator",
    final=lambda fields: fields.get("status") == "completed",
)
NODE = Kind("nodes", ("title", "content", "metadata"), open=("metadata",), joins=True)


class Saving(StrEnum):
    """Where the last change is."""

    SAVED = "saved"  # the server has it
    SAVING = "saving"  # soon to be queued, or on its way
    RETRYING = "retrying"  # queued, and there is no network, or no answer for `most_s`: it is sent until there is one
    CONFLICT = "conflict"  # another device's version won, or the session is over: see SaveState
    REFUSED = "refused"  # the server will not have it (`code`, `detail`); what changes next takes it along


@dataclass(frozen=True, slots=True)
class SaveState:
    """`row`: the winner of a conflict, None where the row was removed. `ended`: it takes no more saves.

    `mine`: the fields as this device meant them; `differs`: those that it changed and that are another way in `row`.
    `conflict_id`: the server's record of what lost; see `Client.get_conflict` and `Client.restore`.
    """

    status: Saving
    row: Row | None = None
    ended: bool = False
    conflict_id: str | None = None
    code: str | None = None
    detail: str | None = None
    mine: JsonObject | None = None
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Lost:
    """A save that lost. `before`: what was good until then; `asked`: what was queued when it became known."""

    state: SaveState
    before: JsonObject
    asked: JsonObject


class Saves:
    """`known`: the row's fields as this client shows them; `pending`: patches in them that have no answer yet."""

    def __init__(
        self,
        known: JsonObject,
        debounce: Debounce,
        pending: Iterable[tuple[str, JsonObject]] = (),
        kind: Kind = SESSION,
    ) -> None:
        self._kind = kind
        self._good = self._ours(known)
        self._pending = {mutation_id: self._ours(patch) for mutation_id, patch in pending}
        self._wanted = self._queued()
        self._debounce = debounce
        self._lost: _Lost | None = None
        self._refused: SaveState | None = None

    # -- what goes out ------------------------------------------------------------------------------------------

    def change(self, fields: JsonObject, now: float) -> None:
        """These fields are so from now on. TypeError or ValueError for what is no JSON; Unsayable."""
        fields = _copied(fields)
        place = self._kind.place
        if place in fields:
            fields[place] = without_nulls(fields[place])
        if self.ended or all(canonical(self._wanted.get(name)) == canonical(value) for name, value in fields.items()):
            return
        if any(_has_null(fields.get(name)) for name in self._kind.open):
            changed(self._queued(), fields)
        self._wanted = {**self._wanted, **fields}
        if self._lost is None:
            self._debounce.changed(now)

    @property
    def unsaved(self) -> bool:
        """Whether something waits for its time to be queued."""
        return self._debounce.stirred

    @property
    def answered_all(self) -> bool:
        """Whether nothing is on its way."""
        return not self._pending

    def due(self) -> float | None:
        """When `take` is to be called; None: not before something else happens."""
        return self._debounce.due(waiting=bool(self._pending))

    def take(self) -> JsonObject | None:
        """The patch to queue now, all that is unsaved; None if that comes to nothing. Say its id by `queued`."""
        self._debounce.saved()
        return self._leading_to_wanted(self._queued())

    def last(self) -> JsonObject | None:
        """As `take`, where nobody will choose any more: of a conflict, what the lost saves did not say yet."""
        if self._lost is not None:
            return self._leading_to_wanted(self._lost.asked)
        return self.take() if self.unsaved else None

    def _leading_to_wanted(self, before: JsonObject) -> JsonObject | None:
        if self.ended:
            return None
        try:
            patch = changed(before, self._wanted)
        except Unsayable as error:  # what made it sayable is gone: another device's write, a refusal
            self._refused = SaveState(Saving.REFUSED, code="invalid", detail=str(error))
            return None
        place = self._kind.place
        if place is not None and patch.get(place):
            patch[place] = replacing(before.get(place), self._wanted[place], LOCATOR)
        return patch or None

    def queued(self, mutation_id: str, patch: JsonObject) -> None:
        """What was taken is in the queue."""
        self._pending[mutation_id] = patch

    def _queued(self) -> JsonObject:
        fields = self._good
        for patch in self._pending.values():
            fields = merged(fields, patch)
        return fields

    # -- what comes back ----------------------------------------------------------------------------------------

    def answered(self, ack: Ack, now: float = 0.0) -> None:
        """The server answered a save, now."""
        asked = self._queued()
        patch = self._pending.pop(ack.mutation_id, None)
        if patch is None:
            return
        if ack.row is not None or (ack.refused and ack.code in GONE):
            self._lose(ack, asked, now)
        elif ack.refused:
            self._refused = SaveState(Saving.REFUSED, code=ack.code, detail=ack.detail)
        else:
            self._good = merged(self._good, patch)
            self._refused = None

    def _lose(self, ack: Ack, asked: JsonObject, now: float) -> None:
        winner = ack.row if ack.row is not None and ack.row.op == "put" else None
        fields = (winner.value or {}) if winner is not None else {}
        theirs, ended = self._ours(fields), winner is None or self._kind.final(fields)
        code = ack.code or ("final" if ended and winner is not None else None)
        earlier = self._lost
        before, asked = (earlier.before, earlier.asked) if earlier else (self._good, asked)
        state = SaveState(
            Saving.CONFLICT, winner, ended, ack.conflict_id, code, ack.detail, *_mine(before, asked, theirs)
        )
        self._lost = _Lost(state, before, asked)
        alone = self._kind.joins and not ended and self._apart(before, theirs)
        self._good = theirs
        self._debounce.saved()
        if alone:
            self.keep_mine(now)

    def _apart(self, before: JsonObject, theirs: JsonObject) -> bool:
        """Whether this device and the winner changed different things."""
        try:
            return apart(changed(before, self._wanted), changed(before, theirs))
        except Unsayable:  # a null of theirs
            return False

    @property
    def ended(self) -> bool:
        """Whether the row takes no more saves."""
        return self._lost is not None and self._lost.state.ended

    def take_theirs(self, shown: Row | None) -> JsonObject:
        """Go on from what the server has: the fields as they are now. What was not saved is given up.

        `shown`: the row as this client shows it, which may be later than the winner of the conflict.
        """
        winner = self._lost.state.row if self._lost is not None else None
        if shown is not None and (winner is None or shown.offset >= winner.offset):
            self._good = self._ours(shown.value or {})
        if not self.ended:
            self._lost = None
        self._debounce.saved()
        self._refused = None
        self._wanted = self._queued()
        return dict(self._wanted)

    def keep_mine(self, now: float) -> None:
        """Save again what lost, and what changed since, over the winner. Rejected where the row has ended."""
        if self._lost is None:
            return
        if self.ended:
            raise Rejected(self._lost.state.code or "removed", "it takes no more saves")
        mine = changed(self._lost.before, self._wanted)
        place = self._kind.place
        whole = {place: self._wanted[place]} if place in mine else {}
        self._lost = None
        self._wanted = {**merged(self._queued(), mine), **whole}
        self._debounce.changed(now)

    def state(self, *, up: bool) -> SaveState:
        """Where the last change is; `up`: whether the client has a way to a server that answers."""
        if self._lost is not None:
            return self._lost.state
        if self._pending or self._debounce.stirred:
            return SaveState(Saving.RETRYING if self._pending and not up else Saving.SAVING)
        return self._refused or SaveState(Saving.SAVED)

    def _ours(self, fields: JsonObject) -> JsonObject:
        return {name: fields[name] for name in self._kind.fields if name in fields}


def _copied(fields: JsonObject) -> JsonObject:
    """A copy that the app cannot change any more."""
    return decode_object(encode_strictly(fields))


def _mine(before: JsonObject, asked: JsonObject, theirs: JsonObject) -> tuple[JsonObject, tuple[str, ...]]:
    """What was asked for, and which of its fields, of those that were to change, are another way in the winner."""
    said = (name for name in asked if canonical(asked[name]) != canonical(before.get(name)))
    return asked, tuple(name for name in said if canonical(asked[name]) != canonical(theirs.get(name)))


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(member is None or _has_null(member) for member in value.values())
    return False
