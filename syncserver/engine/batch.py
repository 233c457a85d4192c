"""One batch inside its transaction: every mutation judged against the row as it is, what won written, what lost kept.

Of each row one mutation after the other, of different rows together; what waits for another mutation comes after it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import encode, frames
from syncserver.core.errors import DependencyUnknown, SyncError
from syncserver.engine import dependencies
from syncserver.engine.decide import Current, Decision, Item, Refused, decide, deferred, rejected
from syncserver.engine.dependencies import Known
from syncserver.engine.quota import Tally
from syncserver.storage import changes, conflicts, notes, rows
from syncserver.storage.changes import Place
from syncserver.storage.database import SERIALIZATION, Contention
from syncserver.storage.mutations import Answer


async def judge(
    connection: AsyncConnection, items: Sequence[Item | Refused], known: Known, tally: Tally
) -> list[Answer]:
    """Judge and write these mutations, none of which was answered before; their answers, for the ledger.

    Those that have to wait are answered in `known.answers` only: what is deferred was never answered.
    """
    answers = [_refusal(item, item.error, known) for item in items if isinstance(item, Refused)]
    for segment in dependencies.segments([item for item in items if isinstance(item, Item)]):
        ready = [item for item in (_resolved(item, known, answers) for item in segment) if item is not None]
        for answer in await _segment(connection, ready, known, tally):
            known.answers[answer.name] = answer.ack
            answers.append(answer)
    return answers


def _refusal(item: Item | Refused, error: SyncError, known: Known) -> Answer:
    known.refused(item)
    ack = rejected(item.name[2], error)
    known.answers[item.name] = ack
    return Answer(item.name, None, ack)


def _resolved(item: Item, known: Known, answers: list[Answer]) -> Item | None:
    """The item with its keys known; None for one that is deferred, or rejected in `answers`."""
    try:
        return known.resolve(item)
    except DependencyUnknown as error:
        known.answers[item.name] = deferred(item, error)
    except SyncError as error:
        answers.append(_refusal(item, error, known))
    return None


async def _segment(connection: AsyncConnection, items: Sequence[Item], known: Known, tally: Tally) -> list[Answer]:
    present = await _present(connection, {item.place: item for item in items})
    answers: list[Answer] = []
    for wave in _waves(items):
        decisions: list[Decision] = []
        puts = [item for item in wave if item.fields is not None]
        await tally.look(connection, [put.sender.owner for put in puts if not _stored(present.get(put.place))])
        for item in wave:
            try:
                decision = decide(item, present.get(item.place))
                _account(decision, present.get(item.place), tally)
                decisions.append(decision)
            except SyncError as error:
                answers.append(_refusal(item, error, known))
        written = [d for d in decisions if d.resolution.changed]
        await _write(connection, written, present)
        present |= await _present(connection, {d.item.place: d.item for d in written})
        await keep_conflicts(connection, [d.conflict for d in decisions if d.conflict])
        answers += [_answer(d, present[d.item.place], known) for d in decisions]
    return answers


def _account(decision: Decision, before: Current | None, tally: Tally) -> None:
    """One row more or less; raises OverQuota where there is no room for one more."""
    there = decision.resolution.version.fields is not None
    if decision.resolution.changed and there and not _stored(before):
        tally.insert(decision.item.sender.owner)
    elif decision.resolution.changed and not there and _stored(before):
        tally.remove(decision.item.sender.owner)


def _stored(before: Current | None) -> bool:
    return before is not None and before.stored is not None


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


def _answer(decision: Decision, now: Current, known: Known) -> Answer:
    offset = now.entry.offset if decision.resolution.accepted else None
    ack = decision.ack(now)
    id_map = known.id_map(decision.item)
    if id_map:
        ack["id_map"] = id_map
    return Answer(decision.item.name, offset, ack, decision.claimed_at(now))


def _waves(items: Sequence[Item]) -> list[list[Item]]:
    """The first mutation of each row, then the second of each, and so on: every write gets an offset of its own."""
    waves: list[list[Item]] = []
    depth: dict[Place, int] = {}
    for item in items:
        level = depth[item.place] = depth.get(item.place, -1) + 1
        if level == len(waves):
            waves.append([])
        waves[level].append(item)
    return waves


async def _present(connection: AsyncConnection, places: Mapping[Place, Item]) -> dict[Place, Current]:
    """The rows at these places as they are, locked; a row that never was is not in it."""
    if not places:
        return {}
    stored = await _locked(connection, places)
    entries = await changes.entries(connection, list(places))
    rowless = {p: places[p] for p, entry in entries.items() if entry.op == "put" and p not in stored}
    if rowless and await _locked(connection, rowless):
        raise Contention(SERIALIZATION)  # somebody else inserted a row between the two statements
    return {place: Current(entry, stored.get(place)) for place, entry in entries.items()}


async def _locked(connection: AsyncConnection, places: Mapping[Place, Item]) -> dict[Place, rows.Stored]:
    stored: dict[Place, rows.Stored] = {}
    for resource in {item.resource.name: item.resource for item in places.values()}.values():
        here = [(owner, key) for owner, name, key in places if name == resource.name]
        for (owner, key), row in (await rows.locked(connection, resource, here)).items():
            stored[owner, resource.name, key] = row
    return stored


async def _write(connection: AsyncConnection, decisions: Sequence[Decision], present: Mapping[Place, Current]) -> None:
    """Bring what won to its tables."""
    for resource in {d.item.resource.name: d.item.resource for d in decisions}.values():
        new: list[rows.Write] = []
        changed: list[rows.Write] = []
        for decision in sorted((d for d in decisions if d.item.resource is resource), key=lambda d: d.item.place):
            before = present.get(decision.item.place)
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
