"""What a row must have become: its writes, in the server's order, judged once more by the pure resolver.

What a put or a patch means for the whole row is said here a second time, in few words, and not asked of the server.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from typing import Any

from syncserver_client import Ack, Row

from syncserver.core import clock
from syncserver.core.resolver import ConflictResolver, FieldPolicy, Version

RULES = {"furthest": FieldPolicy.FURTHEST}
RESOLVER = ConflictResolver(RULES)
EMPTY: dict[str, Any] = {
    "series_id": None,
    "locator": None,
    "position": None,
    "position_kind": None,
    "percentage": None,
    "furthest": None,
    "status": "reading",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """A write as it went over the wire (`sent`, a Mutation), its device, and the first ack."""

    device: str
    sent: dict[str, Any]
    ack: Ack

    @property
    def accepted(self) -> bool:
        """Whether the server let it win; a retry's ack says `duplicate`, only its offset still tells."""
        return self.ack.offset is not None

    @property
    def at(self) -> int:
        """The row's offset right after the server had judged this write."""
        if self.ack.offset is not None:
            return self.ack.offset
        return self.ack.row.offset if self.ack.row is not None else 0


@dataclass(frozen=True, slots=True)
class Placed:
    """A state that a row was given past the server, by SQL."""

    at: int
    state: Version


@dataclass(slots=True)
class Story:
    """One row: its state at each of its offsets, and in words what the server decided otherwise."""

    states: dict[int, Version] = field(default_factory=dict)
    differing: list[str] = field(default_factory=list)
    won: int = 0  # of concurrent writes
    lost: int = 0

    @property
    def final(self) -> Version | None:
        """The state that every device must end with."""
        return self.states[max(self.states)] if self.states else None


def fold(writes: Iterable[Judged], placed: Iterable[Placed] = ()) -> Story:
    """The story of one row from all its accepted and refused writes, and from what was placed in it.

    The order is that of offsets. Of the writes that left the row at the same offset one made it, and comes first:
    the placed or the accepted one; else the refused one that still carried `furthest` on. The others were refused
    against it, and change nothing, so their order does not matter.
    """
    story = Story()
    events: list[Judged | Placed] = sorted([*placed, *writes], key=attrgetter("at"))
    for at, group in groupby(events, key=attrgetter("at")):
        for event in sorted(group, key=_turn):
            if isinstance(event, Judged):
                _judge(story, event)
            elif at in story.states:
                story.differing.append(f"offset {at} was given twice")
            else:
                story.states[at] = event.state
    return story


def _turn(event: Judged | Placed) -> tuple[bool, bool, float]:
    if isinstance(event, Placed):
        return (False, False, 0.0)
    return (True, not event.accepted, -_furthest(event))


def _furthest(write: Judged) -> float:
    sent = write.sent["data"]
    return max(sent.get("furthest") or 0.0, sent.get("percentage") or 0.0)


def _judge(story: Story, write: Judged) -> None:
    before = story.final
    if before is None and write.sent["op"] == "patch":
        story.differing.append(f"offset {write.at}: a patch was taken where there was no row")
        return
    resolution = RESOLVER.resolve(before, _incoming(write, before))
    if resolution.changed:
        if write.at in story.states:
            story.differing.append(f"offset {write.at} was given twice")
        story.states[write.at] = replace(resolution.version, offset=write.at, explicit=frozenset())
    story.won += resolution.concurrent and resolution.accepted
    story.lost += resolution.concurrent and not resolution.accepted
    expected = (resolution.accepted, resolution.concurrent, max(story.states, default=0))
    found = (write.accepted, write.ack.conflict_id is not None, write.at)
    if expected != found:
        names = "(accepted, concurrent, offset)"
        story.differing.append(f"write {write.ack.mutation_id}: {names} should be {expected}, the ack says {found}")
    elif write.ack.status not in {_status(resolution.accepted, resolution.merged), "duplicate"}:
        story.differing.append(f"write {write.ack.mutation_id}: the status is {write.ack.status}")


def _status(accepted: bool, merged: bool) -> str:
    return "superseded" if not accepted else "merged" if merged else "applied"


def _incoming(write: Judged, before: Version | None) -> Version:
    sent = write.sent
    start = EMPTY if sent["op"] == "put" or before is None else before.fields
    fields = {**(start or EMPTY), **sent["data"]}
    reached = [place for place in (fields["furthest"], fields["percentage"]) if place is not None]
    fields["furthest"] = max(reached, default=None)
    explicit = frozenset(sent["data"]) & frozenset(RULES)
    return Version(fields, clock.read(sent["updated_at"]), write.device, sent["base"], explicit)


def difference(expected: Version, row: Row | None) -> str | None:
    """In words how a held row differs from the expected state; None if it does not."""
    if row is None or row.value is None:
        return "missing"
    found: dict[str, object] = {name: row.value.get(name) for name in EMPTY}
    found |= {"offset": row.offset, "updated_at": row.updated_at, "device_id": row.device_id}
    wanted: dict[str, object] = {**(expected.fields or {}), "offset": expected.offset}
    wanted |= {"updated_at": expected.updated_at, "device_id": expected.device_id or None}
    return _unlike(sorted(wanted), wanted, found)


def _unlike(names: Sequence[str], wanted: dict[str, object], found: dict[str, object]) -> str | None:
    unlike = [f"{name} is {found.get(name)}, not {wanted[name]}" for name in names if found.get(name) != wanted[name]]
    return "; ".join(unlike) or None
