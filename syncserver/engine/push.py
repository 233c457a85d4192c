"""The one write door: every write of a synced row from a client, over any transport or route, goes through here.

While commits are in flight, what arrives waits together and goes in the next. A batch is one transaction: rows,
ledger, conflicts and answers commit together or not at all. If a statement fails, the batch is replayed one by one,
so that only the guilty item is rejected. An owner whose lock somebody holds is left out of it, and waits `aside`.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy.exc import DBAPIError

from syncserver.core.errors import Invalid, SyncError, Unauthorised, Unavailable
from syncserver.engine import batch, dependencies, settle
from syncserver.engine.aside import AWAY, BUSY, Aside, Pushed, Waiting
from syncserver.engine.batch import Looked
from syncserver.engine.decide import Ack, Item, Refused, Sender, deferred, duplicate, read, refused, rejected
from syncserver.engine.dependencies import Known
from syncserver.engine.effects import Books
from syncserver.engine.lineup import Lineup
from syncserver.engine.quota import Quota
from syncserver.storage import conflicts, mutations, temporary, trip
from syncserver.storage.database import LOCKED, UNIQUE, Contention, Database, RefusedError, Turns
from syncserver.storage.mutations import Name
from syncserver.storage.resource import Catalog

log = logging.getLogger(__name__)
BATCH = 200
WRITERS = 2
"""While one waits for the disk, the other judges; a third would wait for a core, and batches would be smaller."""
CROWD = 12
"""With fewer waiting, no other writer begins while one writes: a batch costs about 2 ms whatever is in it, so two small
ones are slower than one. At 2,000 writes a second the answer takes 2.6 ms; 3.4 with 4 as well as with 50."""
_LONG_S = 0.02
"""But where one takes longer than that, as it waits for somebody's lock, nobody waits for it."""
_TRIES = 8
_PAUSE_S = 0.02
_WAITERS = 2

Client = tuple[str, str]
"""Owner and client id: whose mutations keep their order."""


class Push:
    """The queue in front of the transactions. `run` commits until cancelled, in so many of them at once as `writers`.

    `allow(owner, number)`: raises where so many mutations more are too many for now. `quota`: how many rows one may
    have. `changed(owner)` is called before an answer is given to a mutation that may have changed the owner's rows.
    `busy_s`: how long an owner's mutations wait for another write of it; `most_aside`: so many, about, have room then.
    `writers`: how many batches may be under way; another than the first only where `crowd` wait.
    """

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        now: Callable[[], datetime],
        *,
        batch: int = BATCH,
        writers: int = WRITERS,
        crowd: int = CROWD,
        allow: Callable[[str, int], None] = lambda _owner, _number: None,
        quota: Quota | None = None,
        changed: Callable[[str], None] = lambda _owner: None,
        busy_s: float = 30,
        most_aside: int = 1_000,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._now = now
        self._batch = batch
        self._allow = allow
        self._quota = quota or Quota()
        self._changed = changed
        self._writers = writers
        self._crowd = crowd
        self._begun: list[float] = []
        self._queue = Lineup()
        self._arrived = asyncio.Event()
        self._aside = Aside(
            self._commit,
            self._answer,
            self._line_up,
            batch=batch,
            busy_s=busy_s,
            waiters=min(_WAITERS, database.connections // 3),  # the others are for whoever waits for nobody
            most=most_aside,
        )

    async def push(self, sender: Sender, proposed: Sequence[Mapping[str, Any]]) -> list[Ack]:
        """One answer for each proposed mutation, in order, after what they changed is committed.

        A wrong one is rejected and stands in no other's way; `deferred` means: nothing happened, send it again.
        Raises RateLimited where these are too many for this owner just now; then none of them was looked at.
        """
        return await self.submit(sender, proposed)

    def submit(self, sender: Sender, proposed: Sequence[Mapping[str, Any]]) -> asyncio.Future[list[Ack]]:
        """The same for whoever has no task to wait with: what is given is done when all are answered."""
        self._allow(sender.owner, len(proposed))
        full, answered = self._aside.full(sender.owner), asyncio.get_running_loop().create_future()
        pushed = Pushed([None] * len(proposed), len(proposed), answered)
        if not proposed:
            answered.set_result([])
        waiting: list[Waiting] = []
        for place, raw in enumerate(proposed):
            found = self._read(sender, raw, full=full)
            if isinstance(found, dict):
                pushed.know(place, found)
            else:
                waiting.append(Waiting(found, pushed, place))
        self._line_up(one for one in waiting if not self._aside.joined(one))
        return answered

    async def restored(self, owner: str, conflict_id: str) -> None:
        """Note that the losing version of a conflict was written again."""
        async with self._database.transaction([owner]) as connection:
            await conflicts.restored(connection, owner, conflict_id)

    def _read(self, sender: Sender, raw: Mapping[str, Any], *, full: bool) -> Ack | Item | Refused:
        """What has to line up; or the answer, where it is known at once."""
        item: Item | Refused | None
        try:
            item = read(sender, raw, self._catalog, self._now())
        except SyncError as error:
            item = refused(sender, raw, error)
            if item is None:
                return rejected(raw.get("mutation_id"), error)
        return deferred(item, BUSY) if full else item

    def _line_up(self, waiting: Iterable[Waiting]) -> None:
        self._queue.add(waiting)
        self._arrived.set()

    async def run(self) -> None:
        """Commit what queued while the last commit was in flight, until cancelled: then all that waits is deferred."""
        try:
            async with asyncio.TaskGroup() as writers:
                for _ in range(self._writers):
                    writers.create_task(self._write())
        except asyncio.CancelledError:
            await self._aside.end()
            left = self._queue.all()
            self._answer(left, _all_deferred(left))
            raise

    async def _write(self) -> None:
        while True:
            while not self._may_begin():
                self._arrived.clear()
                await self._arrived.wait()
            began = asyncio.get_running_loop().time()
            self._begun.append(began)
            nudge = asyncio.get_running_loop().call_later(_LONG_S, self._arrived.set)
            try:
                await self._next()
            finally:
                nudge.cancel()
                self._begun.remove(began)
                self._arrived.set()

    def _may_begin(self) -> bool:
        """Whether there is something for one more batch, now."""
        if not self._queue.ready:
            return False
        if not self._begun or len(self._queue) >= self._crowd:
            return True
        return asyncio.get_running_loop().time() - self._begun[-1] >= _LONG_S

    async def _next(self) -> None:
        taken = self._queue.taken(self._batch)
        answers: Sequence[Ack | None] | None = None
        try:
            answers = await self._commit([waiting.item for waiting in taken])
        except Exception:
            log.exception("a batch failed")  # the next one, and those of the other writers, may do better
        finally:
            self._answer(taken, _all_deferred(taken) if answers is None else answers)
            self._queue.back(taken)

    def _answer(self, taken: Sequence[Waiting], answers: Sequence[Ack | None]) -> None:
        """Answer these; those without an answer are of busy owners, and go aside with all that queued behind them.

        What a client sent behind one that was deferred is deferred too: it must not overtake that.
        """
        told = [(waiting, ack) for waiting, ack in zip(taken, answers, strict=True) if ack is not None]
        for owner in {waiting.item.sender.owner for waiting, _ in told}:
            self._changed(owner)  # also where nobody knows whether it was committed
            self._aside.free(owner)
        _tell(told)
        held_up = {_client(waiting.item) for waiting, ack in told if _away(ack)}
        for owner, client in held_up:
            behind = self._queue.without(owner, partial(_of, client))
            _tell(zip(behind, _all_deferred(behind), strict=True))
        busy = [waiting for waiting, ack in zip(taken, answers, strict=True) if ack is None]
        if busy:
            self._put_aside(busy)

    def _put_aside(self, first: Sequence[Waiting]) -> None:
        lanes: dict[str, list[Waiting]] = {}
        for waiting in first:
            lanes.setdefault(waiting.item.sender.owner, []).append(waiting)
        self._aside.put({owner: [*lane, *self._queue.without(owner)] for owner, lane in lanes.items()})

    async def _commit(self, items: Sequence[Item | Refused], wait_s: float = 0) -> list[Ack | None]:
        """The answers to a batch, whatever happens; none for those whose owner is busy for longer than `wait_s`."""
        try:
            return await self._tried(items, wait_s)
        except Unavailable:
            return [deferred(item, AWAY) for item in items]
        except RefusedError as refusal:
            return await self._one_by_one(items, wait_s, refusal)
        except Unauthorised as error:  # a session that ended just now: its client keeps what it has, to sign in with
            return await self._each(items, wait_s) if len(items) > 1 else [deferred(items[0], error)]
        except DBAPIError:
            log.exception("the database has a fault; nothing was changed")
            return [deferred(item, AWAY) for item in items]

    async def _one_by_one(
        self, items: Sequence[Item | Refused], wait_s: float, refusal: RefusedError
    ) -> list[Ack | None]:
        """The answers where the database refused something: the guilty one is rejected, and its ledger says so."""
        if len(items) > 1:
            return await self._each(items, wait_s)
        [item] = items
        log.warning("the database refused a mutation (SQLSTATE %s)", refusal)
        if isinstance(item, Refused):
            return [deferred(item, AWAY)]  # not even its rejection can be kept
        error = Invalid("The database refused these values.")
        guilty = Refused(item.sender, item.mutation.mutation_id, error, dependencies.makes(item))
        return await self._commit([guilty], wait_s)

    async def _each(self, items: Sequence[Item | Refused], wait_s: float) -> list[Ack | None]:
        """The answers to a batch, one commit each."""
        acks: list[Ack | None] = []
        held_up: set[Client] = set()
        busy: set[str] = set()
        for item in items:
            ack: Ack | None = deferred(item, AWAY)
            if item.sender.owner in busy:
                ack = None
            elif _client(item) not in held_up:
                [ack] = await self._commit([item], wait_s)
            if ack is None:
                busy.add(item.sender.owner)
            elif _away(ack):
                held_up.add(_client(item))
            acks.append(ack)
        return acks

    async def _tried(self, items: Sequence[Item | Refused], wait_s: float) -> list[Ack | None]:
        contention = None
        for attempt in range(_TRIES):
            try:
                return await self._transact(items, wait_s)
            except Contention as found:
                contention = found
                if wait_s and found.sqlstate == LOCKED:
                    return [None] * len(items)
                await asyncio.sleep(random.uniform(0, _PAUSE_S * 2**attempt))  # noqa: S311 - a pause, not a secret
        if contention is not None and contention.sqlstate == UNIQUE:
            raise RefusedError(UNIQUE)  # not a race for the same row, then, but a constraint
        raise Unavailable("Other writers were in the way for too long.")

    async def _transact(self, items: Sequence[Item | Refused], wait_s: float) -> list[Ack | None]:
        """One transaction over a batch; the order of locks is queue, rows by key, channels by owner."""
        tally = self._quota.begin()
        turns = Turns(item.sender.owner for item in items)
        turns.wait_s = wait_s
        places = batch.places(items, self._catalog)
        known_asks = Known.asks(items)
        turns.asks = [*known_asks, *settle.asked(places)]
        async with self._database.transaction(turns, queue=True, many=not wait_s) as connection:
            free = [item for item in items if item.sender.owner not in turns.busy]
            if not free:
                return [None] * len(items)
            known = await Known.told(connection, free, turns.told[: len(known_asks)])
            there = await settle.told(connection, places, turns.told[len(known_asks) :])
            before = frozenset(known.answers)
            answers = await batch.judge(
                connection, _fresh(free, before), known, Books(self._catalog, tally), Looked(places, there)
            )
            last = [mutations.recorded(answers)] if answers else []
            if known.became:
                last.append(temporary.kept(list(known.became.values())))
            await trip.go(connection, *last, commit=True)
        tally.committed()
        acks = iter(_in_order(free, before, known.answers))
        return [None if item.sender.owner in turns.busy else next(acks) for item in items]


def _client(item: Item | Refused) -> Client:
    return (item.sender.owner, item.sender.client_id)


def _of(client_id: str, waiting: Waiting) -> bool:
    return waiting.item.sender.client_id == client_id


def _away(ack: Ack) -> bool:
    """Whether it was deferred for something that is no fault of its own."""
    return ack.get("code") == Unavailable.code


def _all_deferred(waiting: Sequence[Waiting]) -> list[Ack]:
    return [deferred(one.item, AWAY) for one in waiting]


def _tell(answered: Iterable[tuple[Waiting, Ack]]) -> None:
    for waiting, answer in answered:
        waiting.tell(answer)


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
