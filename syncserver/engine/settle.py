"""What decisions bring to the tables: what won is written, what lost is kept and told, and the rows are read again."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import encode, frames
from syncserver.engine.decide import Current, Decision
from syncserver.storage import changes, conflicts, notes, rows, trip
from syncserver.storage.changes import Entry, Place
from syncserver.storage.database import SERIALIZATION, Contention
from syncserver.storage.resource import Resource
from syncserver.storage.trip import Ask


async def settle(
    connection: AsyncConnection, decisions: Sequence[Decision], known: dict[Place, Current], *, whole: bool = True
) -> None:
    """Write what won, keep what lost, and know in `known` how these rows are now.

    Not `whole`: of a row that was written as its mutation meant it, only where it stands in the log is read again.
    """
    written = [d for d in decisions if d.resolution.changed]
    if written:
        reread = {d.item.place: d.item.resource for d in written if whole or not _as_meant(d)}
        others = [d for d in written if d.item.place not in reread]
        asks = [changes.standing([d.item.place for d in others])] if others else []
        writes = _writes(written, known)
        found = await trip.go(connection, *writes, *asks, *(asked(reread) if reread else []))
        found = found[len(writes) :]
        for decision in others:
            known[decision.item.place] = _meant(decision, found[0][decision.item.place])
        if reread:
            known |= await told(connection, reread, found[len(asks) :])
    await keep_conflicts(connection, [d.conflict for d in decisions if d.conflict])


def _as_meant(decision: Decision) -> bool:
    return decision.resolution.accepted and not decision.item.resource.effects


def _meant(decision: Decision, entry: Entry) -> Current:
    """A row as it was written; its JSON, which only the database makes, is asked for by nobody."""
    version = decision.resolution.version
    if version.fields is None:
        return Current(entry, None)
    return Current(entry, rows.Stored("", dict(version.fields), entry.updated_at, entry.device_id, None))


def asked(places: Mapping[Place, Resource]) -> list[Ask[Any]]:
    """What to ask to know, and lock, the rows at these places; the answers are for `told`."""
    by_resource: dict[str, list[tuple[str, str]]] = {}
    for owner, name, key in places:
        by_resource.setdefault(name, []).append((owner, key))
    resources = {resource.name: resource for resource in places.values()}
    return [
        *(rows.locking(resources[name], here) for name, here in by_resource.items()),
        changes.standing(list(places)),
    ]


async def told(
    connection: AsyncConnection, places: Mapping[Place, Resource], answers: Sequence[Any]
) -> dict[Place, Current]:
    """The rows at these places as they are, locked; a row that never was is not in it."""
    if not places:
        return {}
    stored: dict[Place, rows.Stored] = {}
    *locked, entries = answers
    for name, found in zip(dict.fromkeys(place[1] for place in places), locked, strict=True):
        stored |= {(owner, name, key): row for (owner, key), row in found.items()}
    rowless = {p: places[p] for p, entry in entries.items() if entry.op == "put" and p not in stored}
    if rowless:
        *again, _ = await trip.go(connection, *asked(rowless))
        if any(again):
            raise Contention(SERIALIZATION)  # somebody else inserted a row between the two statements
    return {place: Current(entry, stored.get(place)) for place, entry in entries.items()}


async def present(connection: AsyncConnection, places: Mapping[Place, Resource]) -> dict[Place, Current]:
    """The same, at once."""
    return await told(connection, places, await trip.go(connection, *asked(places))) if places else {}


def _writes(decisions: Sequence[Decision], known: Mapping[Place, Current]) -> list[Ask[None]]:
    """What brings what won to its tables."""
    writes: list[Ask[None]] = []
    for resource in {d.item.resource.name: d.item.resource for d in decisions}.values():
        new: list[rows.Write] = []
        changed: list[rows.Write] = []
        for decision in sorted((d for d in decisions if d.item.resource is resource), key=lambda d: d.item.place):
            before = known.get(decision.item.place)
            if decision.resolution.version.fields is None:
                writes += _removal(decision, before)
            else:
                (changed if before and before.stored else new).append(_row(decision, before))
        writes += rows.written(resource, new, changed)
    return writes


def _removal(decision: Decision, before: Current | None) -> list[Ask[None]]:
    owner, _, key = decision.item.place
    version = decision.resolution.version
    gone = [rows.deleted(decision.item.resource, owner, key)] if before and before.stored else []
    return [*gone, changes.tombstone(decision.item.place, version.updated_at, version.device_id)]


def _row(decision: Decision, before: Current | None) -> rows.Write:
    owner, _, key = decision.item.place
    version = decision.resolution.version
    name = decision.item.sender.device.name
    if not decision.resolution.accepted:
        name = before.stored.device_name if before and before.stored else None
    return rows.Write(owner, key, version.fields or {}, version.updated_at, version.device_id or None, name)


async def keep_conflicts(connection: AsyncConnection, found: Sequence[conflicts.Conflict]) -> None:
    """Record what lost, and tell the devices that wrote it."""
    if found:
        decided_at = await conflicts.record(connection, found)
        await notes.post(connection, [_note(c, decided_at) for c in found if c.loser.device_id])


def _note(conflict: conflicts.Conflict, decided_at: datetime) -> notes.Note:
    frame = frames.ConflictNote(
        conflict_id=conflict.id,
        resource=conflict.resource,
        key=conflict.key,
        policy=conflict.policy,
        reason=conflict.reason,
        created_at=decided_at,
    )
    return notes.Note(conflict.owner, "conflict", encode.frame(frame).decode(), device_id=conflict.loser.device_id)
