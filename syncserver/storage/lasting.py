"""Connections that last from one transaction to the next, with the plans of their statements: for the two doors.

A plan is kept (decision 7 says why elsewhere it is not), but never for long: a table may have grown since it was made.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

import psycopg
import sqlalchemy as sa
from psycopg import pq
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from syncserver.storage import trip
from syncserver.storage.trip import Ask

_ANEW: Ask[None] = Ask(sa.text("DISCARD PLANS"), {})


class Plans(Protocol):
    """How long the plans of a connection are good. `due` is asked once for each transaction."""

    def due(self) -> bool:
        """Whether they have to be made anew."""


class Doubling:
    """For writes: until the connection has seen twice as many as when they were made, so no table has grown much."""

    def __init__(self) -> None:
        self._begun = 0
        self._anew = 8

    def due(self) -> bool:
        """See Plans."""
        self._begun += 1
        if self._begun < self._anew:
            return False
        self._anew *= 2
        return True


class Ageing:
    """For reads: for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = monotonic() + seconds

    def due(self) -> bool:
        """See Plans."""
        if monotonic() < self._until:
            return False
        self._until = monotonic() + self._seconds
        return True


@dataclass(slots=True)
class _One:
    connection: AsyncConnection
    plans: Plans


class Lasting:
    """As many connections as are in use at once; who needs one takes one that rests, or makes one.

    `plans`: makes what says of each connection when its plans are made anew. `most`: so many are in use at once, and
    whoever has waited for one longer than `wait_s` gets TimeoutError.
    """

    def __init__(
        self, engine: AsyncEngine, plans: Callable[[], Plans], *, most: int = 1_000, wait_s: float | None = None
    ) -> None:
        self._engine = engine
        self._plans = plans
        self._free = asyncio.Semaphore(most)
        self.in_use = 0
        self._wait_s = wait_s
        self._resting: list[_One] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator[tuple[AsyncConnection, list[Ask[None]]]]:
        """A connection for one transaction, which ends with the block, and what to ask on it first."""
        async with asyncio.timeout(self._wait_s):
            await self._free.acquire()
        self.in_use += 1
        try:
            one = await self._taken()
            try:
                yield one.connection, [_ANEW] if one.plans.due() else []
                await _ended(one.connection, commit=True)
            except BaseException as error:
                await self._failed(one, error)
                raise
            self._resting.append(one)
        finally:
            self.in_use -= 1
            self._free.release()

    async def close(self) -> None:
        """Close those that rest."""
        resting, self._resting = self._resting, []
        for one in resting:
            await _dropped(one.connection)

    async def _taken(self) -> _One:
        while self._resting:
            one = self._resting.pop()
            if await _lives(one.connection):
                return one
            await _dropped(one.connection)
        connection = await self._engine.connect()
        trip.prepare(connection)
        return _One(connection, self._plans())

    async def _failed(self, one: _One, error: BaseException) -> None:
        """A connection is used again only after an error that it can be brought back from."""
        if isinstance(error, Exception):
            with suppress(SQLAlchemyError, psycopg.Error, OSError):
                await _ended(one.connection, commit=False)
                self._resting.append(one)
                return
        with suppress(Exception, asyncio.CancelledError):
            await _dropped(one.connection)


async def _lives(connection: AsyncConnection) -> bool:
    """Whether nobody has hung up. No round trip: a database that ended the connection has said so by now."""
    raw = await trip.driver(connection)
    try:
        for _ in range(2):  # its last words, and the end after them
            raw.pgconn.consume_input()
    except psycopg.Error:
        return False
    return not raw.closed


async def _ended(connection: AsyncConnection, *, commit: bool) -> None:
    raw = await trip.driver(connection)
    if connection.in_transaction():
        await (connection.commit() if commit else connection.rollback())
    if raw.pgconn.transaction_status != pq.TransactionStatus.IDLE:
        await (raw.commit() if commit else raw.rollback())


async def _dropped(connection: AsyncConnection) -> None:
    with suppress(SQLAlchemyError, psycopg.Error, OSError):
        await connection.invalidate()
        await connection.close()
