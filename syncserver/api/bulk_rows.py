"""Rows of one session in one request, as the mutations that they stand for; and refusals, as places in the request.

A node without an id may have a name, its `temp`, by which the other rows of the same request name it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

from syncserver.api import proposal
from syncserver.core import temporaries
from syncserver.core.errors import (
    DependencyUnknown,
    Forbidden,
    Invalid,
    NotFound,
    NotWhole,
    OverQuota,
    Removed,
    Superseded,
    SyncError,
    TooLarge,
)
from syncserver.core.resolver import Policy
from syncserver.storage.resource import Resource

Raw = dict[str, Any]
ROWS_MAX = 1_000
ERRORS_MAX = 1_000
BESIDE = ("updated_at", "base", "policy")
_GRAVEST: Sequence[type[SyncError]] = (Invalid, TooLarge, Forbidden, OverQuota, Superseded, Removed, NotFound)
"""Of several refusals, the first of these that is among them says the status."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of row in a request. `id`: the field with its own id. `temps`: whether it may have a `temp`."""

    name: str
    resource: Resource
    id: str
    temps: bool = False


@dataclass(frozen=True, slots=True)
class Some:
    """Rows to write, or own ids to remove, of one kind. `pointer`: where in the request their list stands."""

    kind: Kind
    pointer: str
    rows: Sequence[Any]
    remove: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """One row of a request. `unknown`: its fields with names that no node of the request has."""

    kind: Kind
    pointer: str
    mutation: Raw
    temp: str | None = None
    unknown: Sequence[str] = ()


@dataclass
class Bulk:
    """A request, row by row in the order in which they are written; `name`: its mutation id."""

    session: str
    name: str
    members: list[Member] = field(default_factory=list)

    def read(self, some: Iterable[Some]) -> None:
        """Take these; raises TooLarge for too many, and Invalid with all that is wrong with them among each other."""
        lists = list(some)
        if sum(len(one.rows) for one in lists) > ROWS_MAX:
            raise TooLarge(f"There are more than {ROWS_MAX} rows in one request.")
        wrong = [place for one in lists for place in self._wrong(one)][:ERRORS_MAX]
        if wrong:
            raise Invalid("; ".join(f"{place['pointer']}: {place['detail']}" for place in wrong), wrong)
        names = frozenset(
            row["temp"]
            for one in lists
            if one.kind.temps and not one.remove
            for row in one.rows
            if isinstance(row.get("temp"), str) and row.get(one.kind.id) is None
        )
        for one in lists:
            for place, row in enumerate(one.rows):
                pointer = f"{one.pointer}/{place}"
                self.members.append(
                    self._removal(one.kind, pointer, row) if one.remove else self._put(one.kind, pointer, row, names)
                )

    def refused(self, error: NotWhole) -> tuple[type[SyncError], list[Raw]]:
        """The gravest kind of what was refused, and every place."""
        codes = {refusal["code"] for refusal in error.refusals}
        if DependencyUnknown.code in codes:
            codes.add(Invalid.code)
        gravest = next((one for one in _GRAVEST if one.code in codes), Invalid)
        errors = [place for refusal in error.refusals for place in _places(self.members[refusal["place"]], refusal)]
        return NotWhole if gravest is Invalid else gravest, errors[:ERRORS_MAX]

    def _wrong(self, some: Some) -> Iterable[dict[str, str]]:
        """Rows that are told twice in one list, or of another session."""
        ids = [row if some.remove else row.get(some.kind.id) for row in some.rows]
        temps = [None if some.remove or not some.kind.temps else row.get("temp") for row in some.rows]
        at = {"id": "" if some.remove else f"/{some.kind.id}", "temp": "/temp"}
        for which, values in (("id", ids), ("temp", temps)):
            seen = set[str]()
            for place, value in enumerate(values):
                if isinstance(value, str) and value in seen:
                    yield {"pointer": f"{some.pointer}/{place}{at[which]}", "detail": "the same one twice"}
                elif isinstance(value, str):
                    seen.add(value)
        for place, row in enumerate(some.rows):
            if not some.remove and str(row.get("session_id", self.session)).lower() != self.session:
                yield {"pointer": f"{some.pointer}/{place}/session_id", "detail": "not that of the path"}

    def _put(self, kind: Kind, pointer: str, row: Raw, names: frozenset[str]) -> Member:
        """The whole row. What says nothing of when it was written, or of what it knew, holds whatever is there."""
        beside = {name: row[name] for name in BESIDE if row.get(name) is not None}
        if "base" in beside:
            beside.setdefault("policy", Policy.SERVER_WINS)
        elif "updated_at" not in beside:
            beside.setdefault("policy", Policy.CLIENT_WINS)
        left_out = {*BESIDE, *proposal.BESIDE, "temp", kind.id, kind.resource.key}
        fields = {name: value for name, value in row.items() if name not in left_out} | {"session_id": self.session}
        unknown = [name for name, value in fields.items() if temporaries.named(value) - names]
        known: dict[str, Any] = {name: {"$temp": self._inner(name)} for name in temporaries.named(fields)}
        temp = row.get("temp") if kind.temps else None
        key: Any = {"temp": self._inner(temp if isinstance(temp, str) else pointer)}
        if row.get(kind.id) is not None:
            key, temp = _key(self.session, row[kind.id]), None
        made = self._mutation(kind, pointer, "put", key, data=temporaries.replaced(fields, known), **beside)
        return Member(kind, pointer, made, temp, unknown)

    def _removal(self, kind: Kind, pointer: str, own: Any) -> Member:
        key = _key(self.session, own)
        return Member(kind, pointer, self._mutation(kind, pointer, "remove", key, policy=Policy.CLIENT_WINS))

    def _mutation(self, kind: Kind, pointer: str, op: str, key: Any, **more: Any) -> Raw:
        """The same id for the same place in the same request."""
        mutation_id = str(uuid5(UUID(self.name), f"{op} {kind.name} {pointer}"))
        return {"mutation_id": mutation_id, "resource": kind.resource.name, "key": key, "op": op, **more}

    def _inner(self, name: str) -> str:
        """The name by which the server knows one of this request alone."""
        return str(uuid5(UUID(self.name), f"temp {name}"))


def _key(session: str, own: Any) -> str:
    return f"{session}:{own if isinstance(own, str) else ''}"


def _places(member: Member, refusal: Mapping[str, Any]) -> list[Raw]:
    """Where in the request this was refused, and why."""
    code, detail = refusal["code"], refusal["detail"]
    if code == DependencyUnknown.code and member.unknown:
        sentence = "no node of this request has this temp"
        return [_place(f"{member.pointer}/{name}", sentence, Invalid.code) for name in member.unknown]
    if refusal.get("errors"):
        return [_place(_within(member, one["pointer"]), one["detail"], code) for one in refusal["errors"]]
    place = _place(member.pointer, detail, code)
    return [{**place, "offset": refusal["row"]["offset"]} if "row" in refusal else place]


def _place(pointer: str, detail: str, code: str) -> Raw:
    return {"pointer": pointer, "detail": detail, "code": code}


def _within(member: Member, pointer: str) -> str:
    """A place in a mutation, as one in the request."""
    if pointer == "/mutation_id":
        return pointer
    if pointer.startswith("/key"):
        return member.pointer if member.mutation["op"] == "remove" else f"{member.pointer}/{member.kind.id}"
    return member.pointer + pointer.removeprefix("/data")
