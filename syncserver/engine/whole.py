"""Many mutations of one sender as one transaction: all of them hold, or nothing of any is kept.

They are judged as those of a push are. But where one is rejected, lost to a newer write or has to wait for another, the
transaction is undone, and whoever sent them is told of each such one by its place among them.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.errors import Invalid, Unavailable
from syncserver.engine.aside import AWAY, BUSY
from syncserver.engine.decide import Ack, Sender, duplicate
from syncserver.engine.effects import Books
from syncserver.engine.quota import Quota
from syncserver.engine.sitting import Placed, Raw, Sitting
from syncserver.storage import mutations
from syncserver.storage.database import LOCKED, UNIQUE, Contention, Database, RefusedError, Turns
from syncserver.storage.resource import Catalog

log = logging.getLogger(__name__)
Chunks = Callable[[], AsyncIterator[Sequence[Raw]]]
"""Gives the mutations from the first one on, as often as it is called: a transaction may have to be replayed."""

Plan = Callable[[AsyncConnection], Awaitable[Sequence[Raw]]]
"""What is to be written, found out inside the transaction: no other write of the owner comes between."""
Check = Callable[[AsyncConnection], Awaitable[None]]

CHUNK = 200
REFUSALS = 1_000
_TRIES = 8
_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5
_T = TypeVar("_T")


async def _nothing(_: AsyncConnection) -> None:
    """Any transaction will do."""


@dataclass(frozen=True)
class _Lane:
    """How many transactions of a kind are under way at once, and how long one of them waits for a lock at a time.

    In between it has no connection, and somebody else of its kind has its turn.
    """

    room: asyncio.Semaphore
    turn_s: float


@dataclass
class _Owner:
    """One owner's: one after the other. `wanted`: how many have or want it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: int = 0


class Whole:
    """All that one process writes whole.

    `quota`, `changed` and `allow` as of `Push`. `busy_s`: how long another write of the same owner is waited for. Of
    one owner one transaction is under way at once, of lists and of streams `at_once` each.
    """

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        now: Callable[[], datetime],
        *,
        quota: Quota | None = None,
        changed: Callable[[str], None] = lambda _owner: None,
        allow: Callable[[str, int], None] = lambda _owner, _number: None,
        busy_s: float = 30,
        at_once: int = 2,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._now = now
        self._quota = quota or Quota()
        self._changed = changed
        self._allow = allow
        self._busy_s = busy_s
        self._lists = _Lane(asyncio.Semaphore(at_once), turn_s=1)
        self._streams = _Lane(asyncio.Semaphore(at_once), turn_s=5)
        self._owners: dict[str, _Owner] = {}

    async def write(self, sender: Sender, proposed: Sequence[Raw], *, check: Check = _nothing) -> list[Ack]:
        """One answer for each mutation, in order, after all are committed; to the same ones again, the first answers.

        `check` is asked inside the transaction, before any is judged, and may raise any SyncError. Raises NotWhole with
        every one that was refused, RateLimited before any is looked at, Invalid for values that only the database
        refuses, and Unavailable where all of it may be sent again, whatever became of it.
        """
        self._allow(sender.owner, len(proposed))

        async def transact(turns: Turns) -> list[Ack]:
            async with self._sitting(turns, sender, ledger=True) as sitting:
                await check(sitting.connection)
                return await _judge_list(sitting, proposed)

        return await self._committed(sender.owner, self._lists, transact)

    async def planned(self, sender: Sender, name: str, plan: Plan) -> list[Ack]:
        """As `write`, of mutations that are planned inside the transaction; it may raise any SyncError.

        `name`: the id of the first of them. Where that was answered before, nothing is planned: its first answer alone.
        """
        first = (sender.owner, sender.client_id, name)

        async def transact(turns: Turns) -> list[Ack]:
            async with self._sitting(turns, sender, ledger=True) as sitting:
                told = await mutations.first(sitting.connection, [first])
                if told:
                    return [duplicate(told[first])]
                raws = await plan(sitting.connection)
                self._allow(sender.owner, len(raws))
                return await _judge_list(sitting, raws)

        return await self._committed(sender.owner, self._lists, transact)

    async def stream(
        self,
        sender: Sender,
        chunks: Chunks,
        *,
        ledger: bool = False,
        progress: Callable[[int], None] = lambda _number: None,
        dry: bool = False,
        sealed: Callable[[AsyncConnection], Awaitable[None]] | None = None,
    ) -> int:
        """How many mutations were committed, any number of them, of which a chunk (CHUNK at most) is in memory at once.

        `ledger`: answers are kept, so that the same ones again change nothing. `progress` hears after each chunk how
        many were judged, and begins again where the transaction is replayed. `dry`: all is judged, nothing kept.
        Errors as of `write`; with REFUSALS it has seen enough. Cancelled, it is undone. It counts as one mutation.
        `sealed`: what else the same transaction does at its end; not where anything was refused.
        """
        self._allow(sender.owner, 1)

        async def transact(turns: Turns) -> int:
            async with self._sitting(turns, sender, ledger=ledger, dry=dry) as sitting:
                await _judge_all(sitting, chunks, progress)
                if sealed is not None and not sitting.refusals:
                    await sealed(sitting.connection)
            return sitting.number

        return await self._committed(sender.owner, self._streams, transact)

    @asynccontextmanager
    async def _sitting(
        self, turns: Turns, sender: Sender, *, ledger: bool, dry: bool = False
    ) -> AsyncIterator[Sitting]:
        """One transaction; the order of locks is queue, rows by key, channels. It commits if nothing was refused."""
        tally = self._quota.begin()
        async with self._database.transaction(turns, queue=True) as connection:
            if turns.busy:
                raise Contention(LOCKED)
            sitting = Sitting(connection, sender, Books(self._catalog, tally), self._now, ledger)
            yield sitting
            sitting.close()
            if dry:
                await connection.rollback()
        if not dry:
            tally.committed()

    # -- around the transaction ----------------------------------------------

    async def _committed(self, owner: str, lane: _Lane, transact: Callable[[Turns], Awaitable[_T]]) -> _T:
        until = asyncio.get_running_loop().time() + self._busy_s
        async with self._alone(owner, until):
            try:
                return await self._tried(owner, lane, until, transact)
            except RefusedError as refusal:
                log.warning("the database refused what was to be written whole (SQLSTATE %s)", refusal)
                raise Invalid("The database refused these values; nothing was changed.") from None
            except DBAPIError:
                log.exception("the database has a fault; nothing was changed")
                raise AWAY from None
            finally:
                self._changed(owner)  # also where nobody knows whether it was committed

    @asynccontextmanager
    async def _alone(self, owner: str, until: float) -> AsyncIterator[None]:
        """Nobody else of this owner here meanwhile; who waits for that has no connection. Raises Unavailable."""
        mine = self._owners.setdefault(owner, _Owner())
        mine.wanted += 1
        try:
            try:
                async with asyncio.timeout_at(until):
                    await mine.lock.acquire()
            except TimeoutError:
                raise _busy() from None
            try:
                yield
            finally:
                mine.lock.release()
        finally:
            mine.wanted -= 1
            if not mine.wanted:
                del self._owners[owner]

    async def _tried(self, owner: str, lane: _Lane, until: float, transact: Callable[[Turns], Awaitable[_T]]) -> _T:
        """What the transaction gives when nobody is in its way. It asks for the owner's lock, then waits for it."""
        turns, tries, pause_s = Turns([owner]), 0, _PAUSE_S
        while True:
            try:
                async with lane.room:
                    return await transact(turns)
            except Contention as found:
                tries += found.sqlstate != LOCKED
                if tries == _TRIES and found.sqlstate == UNIQUE:
                    raise RefusedError(UNIQUE) from None  # not a race for the same row, then, but a constraint
                if tries == _TRIES or asyncio.get_running_loop().time() >= until:
                    raise _busy() from None
            turns, pause_s = Turns([owner]), min(_LONGEST_PAUSE_S, pause_s * 2)
            turns.wait_s = lane.turn_s
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - a pause, not a secret


async def _judge_list(sitting: Sitting, raws: Sequence[Raw]) -> list[Ack]:
    """All of them are known together, so that a number given to one is past those that the others bring."""
    acks: list[Ack] = []
    placed: list[Placed] = []
    for first in range(0, len(raws), CHUNK):
        placed += sitting.read(raws[first : first + CHUNK])
        await asyncio.sleep(0)  # others have their turn
    known = await sitting.known(placed)
    for first in range(0, len(placed), CHUNK):
        acks += await sitting.judge(placed[first : first + CHUNK], known)
    return acks


async def _judge_all(sitting: Sitting, chunks: Chunks, progress: Callable[[int], None]) -> None:
    async for chunk in chunks():
        placed = sitting.read(chunk)
        await sitting.judge(placed, await sitting.known(placed))
        progress(sitting.number)
        if len(sitting.refusals) >= REFUSALS:
            return


def _busy() -> Unavailable:
    return Unavailable(BUSY.detail)
