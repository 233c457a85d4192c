"""One statement of a transaction, broken once: the server's own connection fails there as a real one would.

It counts what the pool of a server sends in the transactions of one owner, COMMIT too, and breaks the one with a given
number: the database itself raises the error, or the socket to it is cut.
"""

import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from syncserver.storage import trip
from syncserver.storage.database import Database
from syncserver.storage.trip import Ask

_COMMIT = "COMMIT"
_BEGINS = "syncserver.owners"
QUEUES = "pg_try_advisory_xact_lock"
"""What a transaction that writes whole begins with, after it has said for whom it is."""


@dataclass(frozen=True)
class Way:
    """How a statement breaks. `sqlstate`: what the database raises; None: the connection is lost.

    `cut`: on our side, else the database ends it. `late`: after the statement was done, so that only its answer is
    lost. `again`: whether the client is to try again.
    """

    name: str
    sqlstate: str | None = None
    cut: bool = False
    late: bool = False
    again: bool = True

    def __str__(self) -> str:
        return self.name


LOST = Way("the database ends the connection")
CUT = Way("the socket is cut", cut=True)
UNHEARD = Way("the answer is not heard", cut=True, late=True)
VIOLATED = Way("a constraint is violated", "23514", again=False)
TIMED_OUT = Way("it takes too long", "57014")
CLASHED = Way("another transaction is in the way", "40001")
NO_MEMORY = Way("there is no memory", "53200")
WAYS = (LOST, CUT, UNHEARD, VIOLATED, TIMED_OUT, CLASHED, NO_MEMORY)


async def _one_by_one(
    go: Callable[..., Awaitable[list[Any]]],
    engine: AsyncEngine,
    connection: AsyncConnection,
    *asks: Ask[Any],
    commit: bool = False,
) -> list[Any]:
    """As `trip.go`, but that each statement of a round trip can be broken: those behind it then never come."""
    if connection.engine is not engine or commit:
        return await go(connection, *asks, commit=commit)
    found = []
    for ask in asks:
        rows = await connection.execute(ask.statement, dict(ask.arguments))
        found.append(ask.read(rows.all() if rows.returns_rows else ()))
    return found


@dataclass
class _Watched:
    """An owner's statements. `wanted`: which is to break, from 1; 0: none. `since`: what the first one has in it."""

    way: Way
    wanted: int
    since: str
    seen: list[str] = field(default_factory=list)
    broken: bool = False


class Statements:
    """All statements of a pool, by owner. `ender`: ends a backend by its process id, and waits until it is gone."""

    def __init__(self, database: Database, ender: Callable[[int], object]) -> None:
        self._ender = ender
        self._watched: dict[str, _Watched] = {}
        self._of: dict[int, _Watched] = {}
        dialect: Any = database._engine.sync_engine.dialect
        self._execute, self._commit, self._rollback = dialect.do_execute, dialect.do_commit, dialect.do_rollback
        dialect.do_execute, dialect.do_commit, dialect.do_rollback = self._executed, self._committed, self._rolled_back
        trip.go = partial(_one_by_one, trip.go, database._engine)

    def watch(self, owner: str, wanted: int = 0, way: Way = LOST, since: str = _BEGINS) -> None:
        """Count the statements of the owner's transactions from now on, and break the one with this number, once.

        `since`: of each transaction, only those from one on that has this in it.
        """
        self._watched[owner] = _Watched(way, wanted, since)

    def seen(self, owner: str) -> list[str]:
        """What was counted."""
        return self._watched[owner].seen

    def broke(self, owner: str) -> bool:
        """Whether that many were sent, so that one was broken."""
        return self._watched[owner].broken

    def _executed(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        connection = cursor._cursor.connection
        owners: list[str] | str = parameters.get("owners", []) if isinstance(parameters, dict) else []
        owners = re.findall('"([^"]*)"', owners) if isinstance(owners, str) else owners
        watched = self._watched.get(owners[0]) if len(owners) == 1 else None
        if watched is not None and watched.since in statement:
            self._of[id(connection)] = watched
        self._do(connection, statement, lambda: self._execute(cursor, statement, parameters, context), cursor.execute)

    def _committed(self, adapted: Any) -> None:
        connection = adapted.driver_connection if hasattr(adapted, "driver_connection") else adapted._connection
        try:
            self._do(connection, _COMMIT, lambda: self._commit(adapted), adapted.cursor().execute)
        finally:
            self._of.pop(id(connection), None)

    def _rolled_back(self, adapted: Any) -> None:
        self._of.pop(id(adapted._connection), None)
        self._rollback(adapted)

    def _do(
        self,
        connection: psycopg.AsyncConnection,
        statement: str,
        do: Callable[[], None],
        execute: Callable[[str], object],
    ) -> None:
        watched = self._of.get(id(connection))
        if watched is None:
            do()
            return
        watched.seen.append(statement)
        if watched.broken or len(watched.seen) != watched.wanted:
            do()
            return
        watched.broken = True
        way = watched.way
        if way.late:
            do()
        if way.sqlstate is not None:
            execute(f"DO $$ BEGIN RAISE EXCEPTION 'broken by a test' USING ERRCODE = '{way.sqlstate}'; END $$")
        elif way.cut:
            _cut(connection.pgconn.socket)
        else:
            self._ender(connection.pgconn.backend_pid)
        if way.late:
            raise psycopg.OperationalError("the answer did not come")
        do()


def _cut(file: int) -> None:
    with socket.socket(fileno=socket.dup(file)) as ours:
        ours.shutdown(socket.SHUT_RDWR)
