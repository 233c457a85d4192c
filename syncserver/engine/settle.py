"""What decisions bring to the tables: what won is written, what lost is kept and told, and the rows are read again."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import encode, frames
from syncserver.engine.decide import Current, Decision
from syncserver.storage import changes, conflicts, notes, rows
from syncserver.storage.changes import Place
from syncserver.storage.database import SERIALIZATION, Contention
from syncserver.storage.resource import Resource


async def settle(connection: AsyncConnection, decisions: Sequence[Decision], known: dict[Place, Current]) -> None:
    """Write what won, keep what lost, and know in `known` how these rows are now."""
    written = [d for d in decisions if d.resolution.changed]
    await _write(connection, written, known)
    known |= await present(connection, {d.item.place: d.item.resource for d in written})
    await keep_conflicts(connection, [d.conflict for d in decisions if d.conflict])


async def present(connection: AsyncConnection, places: Mapping[Place, Resource]) -> dict[Place, Current]:
    """The rows at these places as they are, locked; a row that never was is not in it."""
    if not places:
        return {}
    stored = await _locked(connection, places)
    entries = await changes.entries(connection, list(places))
    rowless = {p: places[p] for p, entry in entries.items() if entry.op == "put" and p not in stored}
    if rowless and await _locked(connection, rowless):
        raise Contention(SERIALIZATION)  # somebody else inserted a row between the two statements
    return {place: Current(entry, stored.get(place)) for place, entry in entries.items()}


async def _locked(connection: AsyncConnection, places: Mapping[Place, Resource]) -> dict[Place, rows.Stored]:
    stored: dict[Place, rows.Stored] = {}
    for resource in {resource.name: resource for resource in places.values()}.values():
        here = [(owner, key) for owner, name, key in places if name == resource.name]
        for (owner, key), row in (await rows.locked(connection, resource, here)).items():
            stored[owner, resource.name, key] = row
    return stored


async def _write(connection: AsyncConnection, decisions: Sequence[Decision], known: Mapping[Place, Current]) -> None:
    """Bring what won to its tables."""
    for resource in {d.item.resource.name: d.item.resource for d in decisions}.values():
        new: list[rows.Write] = []
        changed: list[rows.Write] = []
        for decision in sorted((d for d in decisions if d.item.resource is resource), key=lambda d: d.item.place):
            before = known.get(decision.item.place)
            if decision.resolution.version.fields is None:
                await _remove(connection, decision, before)
            else:
                (changed if before and before.stored else new).append(_row(decision, before))
        await rows.write(connection, resource, new, changed)


async def _remove(connection: AsyncConnection, decision: Decision, before: Current | None) -> None:
    owner, _, key = decision.item.place
    if before and before.stored:
        await rows.delete(connection, decision.item.resource, owner, key)
    version = decision.resolution.version
    await changes.removed(connection, decision.item.place, version.updated_at, version.device_id)


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
