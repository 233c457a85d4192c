"""ConflictResolver: who wins when two writes meet. Pure, and the same answer on every machine.

1. A write whose base is the row's present offset knew the latest state: accepted, whatever the clocks say.
2. Otherwise the two are concurrent: greater stamp wins, then device id (bytewise), then content.
3. `server-wins` keeps what is stored, `client-wins` takes what comes; fields may have a rule of their own.

A row that has reached a final state stays as it is, whoever writes; only a removal is judged as any other write.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from syncserver.core import clock

Fields = Mapping[str, Any]


class Policy(StrEnum):
    """The rule for two concurrent versions of a row."""

    LAST_WRITE_WINS = "last-write-wins"
    SERVER_WINS = "server-wins"
    CLIENT_WINS = "client-wins"


class FieldPolicy(StrEnum):
    """The rule for one field, whichever version wins: the greater, the smaller, or all members of both lists."""

    FURTHEST = "furthest"
    EARLIEST = "earliest"
    UNION = "union"


class Reason(StrEnum):
    """Why a resolution is as it is; kept with the conflict."""

    FIRST = "first"
    BASE = "base"
    SAME = "same"
    UPDATED_AT = "updated_at"
    DEVICE_ID = "device_id"
    CONTENT = "content"
    SERVER_WINS = "server-wins"
    CLIENT_WINS = "client-wins"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Version:
    """A state of one row: its fields (None: removed), its stamp and device, and the offset it has or was based on.

    For the stored version `offset` is where it stands in the log; for an incoming one it is the base: the
    offset at which its writer last saw the row, or None. `explicit`: fields with a rule of their own that the
    writer set on purpose; knowing the row, it may set them against the rule.
    """

    fields: Fields | None
    updated_at: datetime
    device_id: str
    offset: int | None = None
    explicit: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Resolution:
    """`version` is what the row holds now; `accepted`: the incoming write won; `concurrent`: neither knew the other.

    `merged`: a field rule took something from the loser. `changed`: the stored row has to be written.
    """

    version: Version
    accepted: bool
    concurrent: bool
    reason: Reason
    merged: bool = False

    @property
    def changed(self) -> bool:
        """Whether the stored row has to be written."""
        return self.accepted or self.merged


def never(_: Fields) -> bool:
    """No state is final."""
    return False


@dataclass(frozen=True, slots=True)
class ConflictResolver:
    """`detect` says whether two versions are concurrent, `resolve` which one holds. `rules` are per field.

    `final`: whether fields are a last state, that takes no more writes and that no stamp can keep a row from.
    """

    rules: Mapping[str, FieldPolicy] = field(default_factory=dict)
    final: Callable[[Fields], bool] = never

    def detect(self, current: Version | None, incoming: Version) -> bool:
        """True when the incoming write did not know the stored one: another device's, at another offset than its base.

        Two writes of one device are never concurrent: it wrote them one after the other.
        """
        if current is None or incoming.offset == current.offset:
            return False
        return incoming.device_id != current.device_id and not _same(current, incoming)

    def resolve(
        self, current: Version | None, incoming: Version, policy: Policy = Policy.LAST_WRITE_WINS
    ) -> Resolution:
        """Decide between the stored version (None: there never was one) and the incoming write."""
        if current is None:
            return Resolution(incoming, accepted=True, concurrent=False, reason=Reason.FIRST)
        if self._is_final(current) and incoming.fields is not None:
            reason = Reason.SAME if _same(current, incoming) else Reason.FINAL
            return Resolution(current, accepted=False, concurrent=self.detect(current, incoming), reason=reason)
        if incoming.offset is not None and incoming.offset == current.offset:
            known = self._joined(incoming.fields, current.fields, but=incoming.explicit)
            version = replace(_raised(current, incoming), fields=known)
            return Resolution(version, accepted=True, concurrent=False, reason=Reason.BASE)
        if _same(current, incoming):
            return Resolution(current, accepted=False, concurrent=False, reason=Reason.SAME)
        accepted, reason = self._judge(current, incoming, policy)
        winner, loser = (incoming, current) if accepted else (current, incoming)
        if reason in {Reason.CLIENT_WINS, Reason.FINAL}:
            winner = _raised(current, incoming)
        fields = self._joined(winner.fields, loser.fields)
        return Resolution(
            replace(winner, fields=fields),
            accepted=accepted,
            concurrent=self.detect(current, incoming),
            reason=reason,
            merged=fields != winner.fields,
        )

    def _is_final(self, version: Version) -> bool:
        return version.fields is not None and self.final(version.fields)

    def _judge(self, current: Version, incoming: Version, policy: Policy) -> tuple[bool, Reason]:
        """Whether the incoming write holds, of two that did not know each other."""
        if policy is not Policy.SERVER_WINS and current.fields is not None and self._is_final(incoming):
            return True, Reason.FINAL
        return _judge(current, incoming, policy, self.rules)

    def _joined(self, winner: Fields | None, loser: Fields | None, but: frozenset[str] = frozenset()) -> Fields | None:
        """The winner's fields with what the field rules take from the loser; a removal gives and takes nothing."""
        if winner is None or loser is None:
            return winner
        rules = {name: rule for name, rule in self.rules.items() if name not in but}
        return {**winner, **{name: _JOINS[rule](winner.get(name), loser.get(name)) for name, rule in rules.items()}}


def _raised(current: Version, incoming: Version) -> Version:
    """The incoming write with a stamp past the stored one, so that stamps grow with each row."""
    return replace(incoming, updated_at=max(incoming.updated_at, current.updated_at + clock.TICK))


def _judge(
    current: Version, incoming: Version, policy: Policy, rules: Mapping[str, FieldPolicy]
) -> tuple[bool, Reason]:
    if policy is Policy.SERVER_WINS:
        return False, Reason.SERVER_WINS
    if policy is Policy.CLIENT_WINS:
        return True, Reason.CLIENT_WINS
    if incoming.updated_at != current.updated_at:
        return incoming.updated_at > current.updated_at, Reason.UPDATED_AT
    if incoming.device_id != current.device_id:
        return incoming.device_id.encode() > current.device_id.encode(), Reason.DEVICE_ID
    return _canonical(incoming, rules) > _canonical(current, rules), Reason.CONTENT


def _same(a: Version, b: Version) -> bool:
    """The same write seen twice: nothing to decide."""
    return a.updated_at == b.updated_at and a.device_id == b.device_id and _json(a.fields) == _json(b.fields)


def _canonical(version: Version, rules: Mapping[str, FieldPolicy]) -> bytes:
    """The content as bytes, to break a tie; without fields that have a rule, which would make it depend on order."""
    fields = version.fields and {name: value for name, value in version.fields.items() if name not in rules}
    return _json(fields)


def _json(value: Any) -> bytes:
    """One text for one value, so that 1, 1.0 and true, which Python takes for equal, are told apart."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _greater(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else max(a, b)


def _smaller(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else min(a, b)


def _union(a: Any, b: Any) -> Any:
    if a is None and b is None:
        return None
    members = {_json(m): m for m in [*(a or ()), *(b or ())]}
    return [members[name] for name in sorted(members)]


_JOINS: Mapping[FieldPolicy, Callable[[Any, Any], Any]] = {
    FieldPolicy.FURTHEST: _greater,
    FieldPolicy.EARLIEST: _smaller,
    FieldPolicy.UNION: _union,
}
