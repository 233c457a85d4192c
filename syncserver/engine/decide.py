"""One mutation against the row as it is: read what the client sent, let the resolver judge, say what to answer.

Pure but for ids; the transaction around it is `push`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import orjson
from pydantic import TypeAdapter, ValidationError

from syncserver.core import clock, patch, protocol, temporaries, values
from syncserver.core.actor import Device
from syncserver.core.errors import Forbidden, Invalid, NotFound, Removed, SyncError
from syncserver.core.resolver import Reason, Resolution, Version
from syncserver.core.values import Mutation
from syncserver.storage.changes import Entry, Place
from syncserver.storage.conflicts import Conflict
from syncserver.storage.mutations import Name
from syncserver.storage.resource import Catalog, Fields, Resource
from syncserver.storage.rows import Stored

Ack = dict[str, Any]
_ID: TypeAdapter[str] = TypeAdapter(values.Id)
_NAME: TypeAdapter[str] = TypeAdapter(values.Name)


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose rows, from which device, under which client id: bound where the actor is known, never later."""

    owner: str
    device: Device
    client_id: str


@dataclass(frozen=True, slots=True)
class Item:
    """A mutation that is well-formed, with its sender and its bounded stamp. `fields`: of a put.

    `key` is empty and `fields` is None for as long as there are temporary names in them; see `temporaries`. `named`:
    the temporary names in its data, as it was sent.
    """

    sender: Sender
    mutation: Mutation
    resource: Resource
    stamp: datetime
    fields: Fields | None
    key: str
    named: frozenset[str] = frozenset()

    @property
    def place(self) -> Place:
        """The row that it is about."""
        return (self.sender.owner, self.resource.name, self.key)

    @property
    def name(self) -> Name:
        """Its place in the ledger."""
        return (self.sender.owner, self.sender.client_id, self.mutation.mutation_id)

    @property
    def given(self) -> frozenset[str]:
        """The fields that the mutation itself has."""
        return frozenset(self.mutation.data or ())

    @property
    def homes(self) -> list[Place]:
        """The rows that the row of a put belongs to."""
        of = self.resource
        if self.fields is None or not of.belongs:
            return []
        return [(self.sender.owner, belongs.resource, of.home(belongs, self.fields)) for belongs in of.belongs]

    @property
    def parent(self) -> str | None:
        """The key of the row that a new row goes on from."""
        named = self.fields.get(self.resource.parent) if self.fields and self.resource.parent else None
        return named if isinstance(named, str) else None


@dataclass(frozen=True, slots=True)
class Refused:
    """A mutation that is not well-formed, but has an id: others may name it, so it is answered in its turn."""

    sender: Sender
    mutation_id: str
    error: SyncError
    temporary: str | None = None

    @property
    def name(self) -> Name:
        """Its place in the ledger."""
        return (self.sender.owner, self.sender.client_id, self.mutation_id)


@dataclass(frozen=True, slots=True)
class Current:
    """The row as it is: its entry in the log and, unless removed, its state."""

    entry: Entry
    stored: Stored | None

    @property
    def version(self) -> Version:
        """The same, for the resolver."""
        fields = self.stored.fields if self.stored else None
        stamp = self.stored.own.stamp if self.stored and self.stored.own else self.entry.updated_at
        return Version(fields, stamp, self.entry.device_id or "", self.entry.offset)

    def met_by(self, mutation: Mutation) -> Version:
        """The same, as this mutation meets it: a removal all of the row, any other write its fields alone."""
        own = self.stored.own if self.stored else None
        if own is None:
            return self.version
        if mutation.op == "remove":  # what raised the row would go with it
            return replace(self.version, updated_at=self.entry.updated_at)
        knew = mutation.base is not None and own.since is not None and own.since <= mutation.base <= self.entry.offset
        return replace(self.version, offset=mutation.base) if knew else self.version

    def row(self) -> dict[str, Any]:
        """The same, for the wire."""
        return {
            "resource": self.entry.resource,
            "key": self.entry.key,
            "offset": self.entry.offset,
            "op": self.entry.op,
            "device_id": self.entry.device_id,
            "updated_at": clock.write(self.entry.updated_at),
            "data": orjson.Fragment(self.stored.json) if self.stored else None,
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """What the resolver said of an item, and the conflict to record, if there was one.

    `told`: the row as the item meant it, whether or not that won.
    """

    item: Item
    resolution: Resolution
    conflict: Conflict | None
    told: Fields | None

    def ack(self, now: Current) -> Ack:
        """The answer, given the row after the write."""
        ack: Ack = {"mutation_id": self.item.mutation.mutation_id}
        if self.resolution.accepted or self.resolution.reason is Reason.SAME:
            ack |= {"status": "merged" if self.resolution.merged else "applied", "offset": now.entry.offset}
        else:
            ack |= {"status": "superseded", "row": now.row()}
        if self.conflict:
            ack["conflict_id"] = self.conflict.id
        if self.claimed_at(now):
            ack["updated_at"] = clock.write(now.entry.updated_at)
        return ack

    def claimed_at(self, now: Current) -> datetime | None:
        """The stamp that the device claimed, where its write got another."""
        claimed = self.item.mutation.updated_at
        return claimed if self.resolution.accepted and claimed != now.entry.updated_at else None


def read(sender: Sender, raw: Mapping[str, Any], catalog: Catalog, now: datetime) -> Item:
    """The mutation in `raw`, validated; raises Invalid, TooLarge or NotFound."""
    try:
        mutation = Mutation.model_validate(raw)
    except ValidationError as error:
        raise protocol.invalid(error) from None
    resource = catalog.get(mutation.resource)
    if resource is None:
        raise NotFound("There is no such resource here.")
    _allowed(mutation, resource)
    if mutation.op in {"put", "patch"} and mutation.data is None:
        raise Invalid("A put or a patch needs data.", [{"pointer": "/data", "detail": "missing"}])
    if not isinstance(mutation.key, str) and not resource.makes_keys:
        raise Invalid("The keys of this resource are made by its clients.", [{"pointer": "/key", "detail": "a text"}])
    stamp = clock.clamp(mutation.updated_at or now, now)
    key = canonical(resource, mutation.key) if isinstance(mutation.key, str) else ""
    named = temporaries.named(mutation.data)
    item = Item(sender, mutation, resource, stamp, None, key, named)
    unknown = named or not (key or mutation.op == "put")
    return item if unknown else understood(item)


def _allowed(mutation: Mutation, resource: Resource) -> None:
    if resource.read_only and not (resource.removable and mutation.op == "remove"):
        raise Forbidden("Rows of this resource are made by the server: see its routes.")
    ops = ("put", "patch", "remove", *resource.actions)
    if mutation.op not in ops:
        raise Invalid(
            "There is no such op of this resource.", [{"pointer": "/op", "detail": f"one of {', '.join(ops)}"}]
        )


def canonical(resource: Resource, key: str) -> str:
    """The key as the resource keeps it; raises Invalid for what cannot be one."""
    try:
        return resource.canonical(key)
    except ValueError as error:
        raise Invalid(f"/key: {error}", [{"pointer": "/key", "detail": str(error)}]) from None


def understood(item: Item) -> Item:
    """The item with its fields validated, once none depends on a temporary name; raises Invalid or TooLarge."""
    resource, mutation = item.resource, item.mutation
    if resource.within is not None and mutation.data is not None:
        data = resource.within.local(item.key, mutation.data, whole=mutation.op == "put")
        mutation = mutation.model_copy(update={"data": data})
    fields = None
    if mutation.op == "put":
        fields = validated(resource, mutation.data or {}, frozenset(mutation.data or ()), item.stamp)
    return Item(item.sender, mutation, resource, item.stamp, fields, item.key, item.named)


def refused(sender: Sender, raw: Mapping[str, Any], error: SyncError) -> Refused | None:
    """The place in the ledger of a mutation that cannot be read; None where not even its id can."""
    try:
        mutation_id = _ID.validate_python(raw.get("mutation_id"), strict=True)
    except ValidationError:
        return None
    key = raw.get("key")
    name = key.get("temp") if isinstance(key, dict) and raw.get("op") == "put" else None
    try:
        return Refused(sender, mutation_id, error, _NAME.validate_python(name, strict=True))
    except ValidationError:
        return Refused(sender, mutation_id, error)


def validated(resource: Resource, fields: Mapping[str, Any], given: frozenset[str], at: datetime) -> Fields:
    """The fields of a whole row: checked, defaults filled in; raises Invalid or TooLarge.

    `given`: those that this write has itself, at the stamp `at`.
    """
    try:
        model = resource.model.model_validate(fields)
    except ValidationError as error:
        raise protocol.invalid(error, "/data") from None
    present = model.model_dump(mode="json", exclude_unset=True)
    whole = {name: present[name] if name in present else getattr(model, name) for name in resource.fields}
    return resource.complete(whole, given, at)


def decide(item: Item, current: Current | None, parent: Current | None = None) -> Decision:
    """Judge an item against the row; raises NotFound, Removed, Invalid or TooLarge.

    `parent`: the row that a new one goes on from.
    """
    policy = item.mutation.policy or item.resource.policy
    before = current.met_by(item.mutation) if current else None
    if parent is not None and parent.stored is not None and (before is None or before.fields is None):
        item = _inherited(item, parent.stored.fields)
    incoming = _incoming(item, before)
    resolution = item.resource.resolver.resolve(before, incoming, policy)
    if resolution.version is not incoming:
        resolution = _consistent(item, resolution)
    conflict = None
    if before is not None and resolution.concurrent:
        loser = before if resolution.accepted else incoming
        conflict = Conflict(str(uuid4()), *item.place, policy, resolution.reason, resolution.version, loser)
    told = None if incoming.fields is None else dict(incoming.fields)
    return Decision(item, resolution, conflict, told)


def _consistent(item: Item, resolution: Resolution) -> Resolution:
    """The resolution with fields that agree with each other: each alone may have come of another version."""
    fields = resolution.version.fields
    if not resolution.changed or fields is None:
        return resolution
    whole = item.resource.complete(dict(fields), frozenset(), item.stamp)
    won = resolution.version
    version = Version(whole, won.updated_at, won.device_id, won.offset, won.explicit)
    return Resolution(version, resolution.accepted, resolution.concurrent, resolution.reason, resolution.merged)


def _inherited(item: Item, parent: Fields) -> Item:
    """The item with what it leaves out taken from the row that it goes on from."""
    if item.fields is None:
        return item
    taken = {name: value for name, value in item.resource.inherit(parent).items() if name not in item.given}
    return replace(item, fields=item.resource.complete({**item.fields, **taken}, item.given, item.stamp))


def _incoming(item: Item, before: Version | None) -> Version:
    explicit = frozenset(item.mutation.data or ()) & frozenset(item.resource.rules)
    return Version(_meant(item, before), item.stamp, item.sender.device.id, item.mutation.base, explicit)


def _meant(item: Item, before: Version | None) -> Fields | None:
    """The whole row that the mutation asks for: None for a removal."""
    if item.fields is not None:
        _steady(item.resource, item.fields, before)
        return item.fields
    if before is None:
        raise NotFound("There is no such row.")
    if item.mutation.op == "remove":
        return None
    if before.fields is None:
        raise Removed("The row was removed; a put can bring it back.")
    given = {**(item.mutation.data or {}), **item.resource.actions.get(item.mutation.op, {})}
    meant = validated(item.resource, patch.merged(before.fields, given), frozenset(given), item.stamp)
    _steady(item.resource, meant, before)
    return meant


def _steady(resource: Resource, meant: Fields, before: Version | None) -> None:
    """Raise Invalid where a field would change that never does."""
    if before is None or before.fields is None or not resource.fixed:
        return
    moved = sorted(name for name in resource.fixed if meant[name] != before.fields[name])
    if moved:
        errors = [{"pointer": f"/data/{name}", "detail": "never changes"} for name in moved]
        raise Invalid("; ".join(f"{e['pointer']}: {e['detail']}" for e in errors), errors)


def rejected(mutation_id: object, error: SyncError) -> Ack:
    """The answer to a mutation that cannot be."""
    named = mutation_id if isinstance(mutation_id, str) and len(mutation_id) <= 64 else None  # noqa: PLR2004 - an id's worth
    ack: Ack = {"mutation_id": named, "status": "rejected", "code": error.code, "detail": error.detail}
    if isinstance(error, Invalid) and error.errors:
        ack["errors"] = [dict(place) for place in error.errors]
    return ack


def deferred(item: Item | Refused, error: SyncError) -> Ack:
    """The answer to a mutation that nothing was done about: send it again."""
    return {"mutation_id": item.name[2], "status": "deferred", "code": error.code, "detail": error.detail}


def duplicate(first: Ack) -> Ack:
    """The first answer again."""
    return {**first, "status": "duplicate"}
