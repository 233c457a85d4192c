"""The one write door: every write of a synced row from a client, over any transport or route, goes through here.

While one commit is in flight, what arrives waits together and goes in the next. A batch is one transaction: rows,
ledger, conflicts and answers commit together or not at all. If a statement fails, the batch is replayed one by one,
so that only the guilty item is rejected.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.errors import Invalid, SyncError, Unavailable
from syncserver.engine.decide import Ack, Current, Decision, Item, Sender, decide, duplicate, read, rejected
from syncserver.storage import changes, conflicts, mutations, rows
from syncserver.storage.changes import Place
from syncserver.storage.database import SERIALIZATION, UNIQUE, Contention, Database, RefusedError
from syncserver.storage.mutations import Name
from syncserver.storage.resource import Catalog

log = logging.getLogger(__name__)
BATCH = 200
_TRIES = 8
_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class _Waiting:
    item: Item
    answer: asyncio.Future[Ack]


class Push:
    """The queue in front of the transaction. `run` commits until cancelled."""

    def __init__(
        self, database: Database, catalog: Catalog, now: Callable[[], datetime], *, batch: int = BATCH
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._now = now
        self._batch = batch
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()

    async def push(self, sender: Sender, proposed: Sequence[Mapping[str, Any]]) -> list[Ack]:
        """One answer for each proposed mutation, in order, after what they changed is committed.

        A wrong one is rejected and stands in no other's way; `deferred` means: nothing happened, send it again.
        """
        answers = [self._enqueue(sender, raw) for raw in proposed]
        return [answer if isinstance(answer, dict) else await answer for answer in answers]

    def _enqueue(self, sender: Sender, raw: Mapping[str, Any]) -> Ack | asyncio.Future[Ack]:
        try:
            item = read(sender, raw, self._catalog, self._now())
        except SyncError as error:
            return rejected(raw.get("mutation_id"), error)
        waiting = _Waiting(item, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived.set()
        return waiting.answer

    async def run(self) -> None:
        """Commit what queued while the last commit was in flight, until cancelled."""
        while True:
            await self._arrived.wait()
            batch = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
            if not self._queue:
                self._arrived.clear()
            try:
                answers = await self._commit([waiting.item for waiting in batch])
            except BaseException:
                _answer_all(batch, [_deferred(waiting.item) for waiting in batch])
                raise
            _answer_all(batch, answers)

    async def _commit(self, items: Sequence[Item]) -> list[Ack]:
        """The answers to a batch, whatever happens."""
        try:
            return await self._tried(items)
        except Unavailable:
            return [_deferred(item) for item in items]
        except RefusedError as refusal:
            if len(items) > 1:
                return [(await self._commit([item]))[0] for item in items]
            log.warning("the database refused a mutation (SQLSTATE %s)", refusal)
            return [rejected(items[0].mutation.mutation_id, Invalid("The database refused these values."))]
        except DBAPIError:
            log.exception("the database has a fault; nothing was changed")
            return [_deferred(item) for item in items]

    async def _tried(self, items: Sequence[Item]) -> list[Ack]:
        contention = None
        for attempt in range(_TRIES):
            try:
                return await self._transact(items)
            except Contention as found:
                contention = found
                await asyncio.sleep(random.uniform(0, _PAUSE_S * 2**attempt))  # noqa: S311 - a pause, not a secret
        if contention is not None and contention.sqlstate == UNIQUE:
            raise RefusedError(UNIQUE)  # not a race for the same row, then, but a constraint
        raise Unavailable("Other writers were in the way for too long.")

    async def _transact(self, items: Sequence[Item]) -> list[Ack]:
        """One transaction over a batch; the order of locks is queue, rows by key, channels by owner."""
        async with self._database.transaction({item.sender.owner for item in items}, queue=True) as connection:
            known = await mutations.first(connection, [item.name for item in items])
            fresh = {item.name: item for item in reversed(items) if item.name not in known}
            answered = await _decided(connection, list(reversed(fresh.values())))
            if answered:
                await mutations.record(connection, answered)
        return _in_order(items, known, {answer.name: answer.ack for answer in answered})


def _answer_all(batch: Sequence[_Waiting], answers: Sequence[Ack]) -> None:
    for waiting, answer in zip(batch, answers, strict=True):
        if not waiting.answer.done():  # whoever asked may be gone
            waiting.answer.set_result(answer)


def _in_order(items: Sequence[Item], known: Mapping[Name, Ack], new: Mapping[Name, Ack]) -> list[Ack]:
    """The answer to each item; to one that came before, now or in this very batch, the first answer again."""
    answers: list[Ack] = []
    seen = set(known)
    for item in items:
        ack = new[item.name] if item.name in new else known[item.name]
        answers.append(duplicate(ack) if item.name in seen else ack)
        seen.add(item.name)
    return answers


async def _decided(connection: AsyncConnection, items: Sequence[Item]) -> list[mutations.Answer]:
    """Judge and write these items: of each row one after the other, of different rows together."""
    present = await _present(connection, {item.place: item for item in items})
    answers: list[mutations.Answer] = []
    for wave in _waves(items):
        decisions: list[Decision] = []
        for item in wave:
            try:
                decisions.append(decide(item, present.get(item.place)))
            except SyncError as error:
                answers.append(mutations.Answer(item.name, None, rejected(item.mutation.mutation_id, error)))
        written = [d for d in decisions if d.resolution.changed]
        await _write(connection, written, present)
        present |= await _present(connection, {d.item.place: d.item for d in written})
        found = [d.conflict for d in decisions if d.conflict]
        if found:
            await conflicts.record(connection, found)
        answers += [_answer(d, present[d.item.place]) for d in decisions]
    return answers


def _answer(decision: Decision, now: Current) -> mutations.Answer:
    offset = now.entry.offset if decision.resolution.accepted else None
    return mutations.Answer(decision.item.name, offset, decision.ack(now))


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


def _deferred(item: Item) -> Ack:
    return {
        "mutation_id": item.mutation.mutation_id,
        "status": "deferred",
        "code": Unavailable.code,
        "detail": "The database does not answer; nothing was changed, send it again.",
    }
