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

from syncserver.core.errors import Invalid, SyncError, Unauthorised, Unavailable
from syncserver.engine import batch, dependencies
from syncserver.engine.decide import Ack, Item, Refused, Sender, deferred, duplicate, read, refused, rejected
from syncserver.engine.dependencies import Known
from syncserver.engine.effects import Books
from syncserver.engine.quota import Quota
from syncserver.storage import conflicts, mutations, temporary
from syncserver.storage.database import UNIQUE, Contention, Database, RefusedError
from syncserver.storage.mutations import Name
from syncserver.storage.resource import Catalog

log = logging.getLogger(__name__)
BATCH = 200
_TRIES = 8
_PAUSE_S = 0.02
_AWAY = Unavailable("The database does not answer; nothing was changed, send it again.")


Client = tuple[str, str]
"""Owner and client id: whose mutations keep their order."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    item: Item | Refused
    answer: asyncio.Future[Ack]


class Push:
    """The queue in front of the transaction. `run` commits until cancelled.

    `allow(owner, number)`: raises where so many mutations more are too many for now. `quota`: how many rows one may
    have. `changed(owner)` is called before an answer is given to a mutation that may have changed the owner's rows.
    """

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        now: Callable[[], datetime],
        *,
        batch: int = BATCH,
        allow: Callable[[str, int], None] = lambda _owner, _number: None,
        quota: Quota | None = None,
        changed: Callable[[str], None] = lambda _owner: None,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._now = now
        self._batch = batch
        self._allow = allow
        self._quota = quota or Quota()
        self._changed = changed
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()

    async def push(self, sender: Sender, proposed: Sequence[Mapping[str, Any]]) -> list[Ack]:
        """One answer for each proposed mutation, in order, after what they changed is committed.

        A wrong one is rejected and stands in no other's way; `deferred` means: nothing happened, send it again.
        Raises RateLimited where these are too many for this owner just now; then none of them was looked at.
        """
        self._allow(sender.owner, len(proposed))
        answers = [self._enqueue(sender, raw) for raw in proposed]
        return [answer if isinstance(answer, dict) else await answer for answer in answers]

    async def restored(self, owner: str, conflict_id: str) -> None:
        """Note that the losing version of a conflict was written again."""
        async with self._database.transaction([owner]) as connection:
            await conflicts.restored(connection, owner, conflict_id)

    def _enqueue(self, sender: Sender, raw: Mapping[str, Any]) -> Ack | asyncio.Future[Ack]:
        item: Item | Refused | None
        try:
            item = read(sender, raw, self._catalog, self._now())
        except SyncError as error:
            item = refused(sender, raw, error)
            if item is None:
                return rejected(raw.get("mutation_id"), error)
        waiting = _Waiting(item, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived.set()
        return waiting.answer

    async def run(self) -> None:
        """Commit what queued while the last commit was in flight, until cancelled."""
        while True:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            taken = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
            items = [waiting.item for waiting in taken]
            try:
                answers = await self._commit(items)
            except BaseException:
                self._answer(taken, [deferred(item, _AWAY) for item in items])
                raise
            self._answer(taken, answers)

    def _answer(self, taken: Sequence[_Waiting], answers: Sequence[Ack]) -> None:
        """Answer these; what a client sent behind one that was deferred is deferred too: it must not overtake that."""
        for owner in {waiting.item.sender.owner for waiting in taken}:
            self._changed(owner)  # also where nobody knows whether it was committed
        _tell(taken, answers)
        held_up = _held_up(answers, [waiting.item for waiting in taken])
        behind = [waiting for waiting in self._queue if _client(waiting.item) in held_up]
        if behind:
            self._queue = deque(waiting for waiting in self._queue if _client(waiting.item) not in held_up)
            _tell(behind, [deferred(waiting.item, _AWAY) for waiting in behind])

    async def _commit(self, items: Sequence[Item | Refused]) -> list[Ack]:
        """The answers to a batch, whatever happens."""
        try:
            return await self._tried(items)
        except Unavailable:
            return [deferred(item, _AWAY) for item in items]
        except RefusedError as refusal:
            return await self._one_by_one(items, refusal)
        except Unauthorised as error:  # a session that ended just now: its client keeps what it has, to sign in with
            return await self._each(items) if len(items) > 1 else [deferred(items[0], error)]
        except DBAPIError:
            log.exception("the database has a fault; nothing was changed")
            return [deferred(item, _AWAY) for item in items]

    async def _one_by_one(self, items: Sequence[Item | Refused], refusal: RefusedError) -> list[Ack]:
        """The answers where the database refused something: the guilty one is rejected, and its ledger says so."""
        if len(items) > 1:
            return await self._each(items)
        [item] = items
        log.warning("the database refused a mutation (SQLSTATE %s)", refusal)
        if isinstance(item, Refused):
            return [deferred(item, _AWAY)]  # not even its rejection can be kept
        error = Invalid("The database refused these values.")
        return await self._commit([Refused(item.sender, item.mutation.mutation_id, error, dependencies.makes(item))])

    async def _each(self, items: Sequence[Item | Refused]) -> list[Ack]:
        """The answers to a batch, one commit each."""
        acks: list[Ack] = []
        for item in items:
            behind = _client(item) in _held_up(acks, items)
            acks.append(deferred(item, _AWAY) if behind else (await self._commit([item]))[0])
        return acks

    async def _tried(self, items: Sequence[Item | Refused]) -> list[Ack]:
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

    async def _transact(self, items: Sequence[Item | Refused]) -> list[Ack]:
        """One transaction over a batch; the order of locks is queue, rows by key, channels by owner."""
        tally = self._quota.begin()
        async with self._database.transaction({item.sender.owner for item in items}, queue=True) as connection:
            known = await Known.read(connection, items)
            before = frozenset(known.answers)
            answers = await batch.judge(connection, _fresh(items, before), known, Books(self._catalog, tally))
            if answers:
                await mutations.record(connection, answers)
            if known.became:
                await temporary.keep(connection, list(known.became.values()))
        tally.committed()
        return _in_order(items, before, known.answers)


def _client(item: Item | Refused) -> Client:
    return (item.sender.owner, item.sender.client_id)


def _held_up(acks: Sequence[Ack], items: Sequence[Item | Refused]) -> set[Client]:
    """The clients of which something was deferred over an outage."""
    return {_client(item) for ack, item in zip(acks, items, strict=False) if ack.get("code") == Unavailable.code}


def _tell(taken: Sequence[_Waiting], answers: Sequence[Ack]) -> None:
    for waiting, answer in zip(taken, answers, strict=True):
        if not waiting.answer.done():  # whoever asked may be gone
            waiting.answer.set_result(answer)


def _fresh(items: Sequence[Item | Refused], before: frozenset[Name]) -> list[Item | Refused]:
    """The items that were never answered, each once, in the order in which they first came."""
    first: dict[Name, Item | Refused] = {}
    for item in items:
        if item.name not in before:
            first.setdefault(item.name, item)
    return list(first.values())


def _in_order(items: Sequence[Item | Refused], before: frozenset[Name], answers: Mapping[Name, Ack]) -> list[Ack]:
    """The answer to each item; to one that came before, now or in this very batch, the first answer again."""
    acks: list[Ack] = []
    seen = set(before)
    for item in items:
        ack = answers[item.name]
        acks.append(duplicate(ack) if item.name in seen and ack["status"] != "deferred" else ack)
        seen.add(item.name)
    return acks
