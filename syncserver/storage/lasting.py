"""Connections that last from one transaction to the next, with the plans of their statements: for the write door.

A plan is kept (decision 7 says why elsewhere it is not), but never for long: it is made anew whenever the connection
has seen twice as many transactions as when it was made, so whatever a table was like then, it has not grown much.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from syncserver.storage import trip
from syncserver.storage.trip import Ask

_ANEW: Ask[None] = Ask(sa.text("DISCARD PLANS"), {})


@dataclass(slots=True)
class _One:
    """A connection; after how many transactions its plans are made anew, and how many there were."""

    connection: AsyncConnection
    begun: int = 0
    anew: int = 8


class Lasting:
    """As many connections as are in use at once; who needs one takes one that rests, or makes one."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._resting: list[_One] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator[tuple[AsyncConnection, list[Ask[None]]]]:
        """A connection for one transaction, which ends with the block, and what to ask on it first."""
        one = await self._taken()
        try:
            yield one.connection, _due(one)
            await _ended(one.connection, commit=True)
        except BaseException as error:
            await self._failed(one, error)
            raise
        self._resting.append(one)

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
        return _One(connection)

    async def _failed(self, one: _One, error: BaseException) -> None:
        """A connection is used again only after an error that it can be brought back from."""
        if isinstance(error, Exception):
            with suppress(SQLAlchemyError, psycopg.Error, OSError):
                await _ended(one.connection, commit=False)
                self._resting.append(one)
                return
        with suppress(Exception, asyncio.CancelledError):
            await _dropped(one.connection)


def _due(one: _One) -> list[Ask[None]]:
    one.begun += 1
    if one.begun < one.anew:
        return []
    one.anew *= 2
    return [_ANEW]


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
    await (raw.commit() if commit else raw.rollback())


async def _dropped(connection: AsyncConnection) -> None:
    with suppress(SQLAlchemyError, psycopg.Error, OSError):
        await connection.invalidate()
        await connection.close()
