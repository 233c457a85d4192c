"""The server's way to PostgreSQL: a pool, and the one transaction that names its owners and commits.

Row-level security shows a transaction the rows of the owners that it was begun for, and no others.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from syncserver.core.errors import Unauthorised, Unavailable
from syncserver.storage import trip
from syncserver.storage.lasting import Ageing, Doubling, Lasting
from syncserver.storage.trip import Ask

T = TypeVar("T")
READERS = 4
"""One for the live feed, three for those who catch up; whoever polls takes turns with them."""

SERIALIZATION = "40001"
_ENDED = "SE404"
UNIQUE = "23505"
LOCKED = "55P03"
_RETRY = (SERIALIZATION, "40P01", LOCKED, UNIQUE)
"""Serialization failure, deadlock, lock timeout, and a row that somebody else inserted first."""

_ONLY_IF_ASKED = 2**31 - 1
"""Of statements on a lasting connection, only those stay prepared that say so: for the others, no plan is kept."""

_LOCKED_OUT = "Somebody has locked a table for long; try again."
_NOT_NOW = ("25006", "0A000")
"""Read-only, and not possible here: what a database that is recovering says of writes and of unlogged tables (and one
that was just migrated, of a plan that it had kept)."""
_VALUES = ("22", "23", "44", "54", "P0")
"""Classes of SQLSTATE in which the values are wrong (P0: a trigger said so): trying again cannot help."""

_BEGIN = sa.text("""
    SELECT set_config('syncserver.owners', CAST(:owners AS text[])::text, true),
           set_config('syncserver.stamped', 'on', true)
""")
_BEGIN_READ = sa.text("SELECT set_config('syncserver.owners', CAST(:owners AS text[])::text, true)")
_ONE_PLAN = (
    "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off -c enable_sort=off"
    " -c default_transaction_read_only=on"
)  # decision 21
_IN_ORDER = "(SELECT DISTINCT owner FROM unnest(CAST(:owners AS text[])) AS o (owner) ORDER BY owner) AS o"
_QUEUE = sa.text(f"SELECT pg_advisory_xact_lock(hashtextextended(owner, 0)) FROM {_IN_ORDER}")
# The transaction names the owners that it got, and no others: of the rest it neither sees nor locks a row.
_ASK = sa.text(f"""
    SELECT set_config('syncserver.owners', coalesce(array_agg(owner) FILTER (WHERE got), '{{}}')::text, true),
           set_config('syncserver.stamped', 'on', true), set_config('syncserver.many', :many, true),
           coalesce(array_agg(owner) FILTER (WHERE NOT got), '{{}}')
    FROM (SELECT owner, pg_try_advisory_xact_lock(hashtextextended(owner, 0)) AS got FROM {_IN_ORDER} OFFSET 0) AS o
""")
_PATIENCE = sa.text("SELECT set_config('lock_timeout', :wait, true)")


class Turns(frozenset[str]):
    """Owners for a queued transaction that is not to stand still for one of them.

    Where `wait_s` is 0 it begins at once, and `busy` are then those for whom another writer is in the way: it sees none
    of their rows. Else it waits for each of them, and for any other lock, that long at most. `asks`: what it looks up
    first, once it has the owners; `told`: the answers.
    """

    wait_s: float = 0
    busy: frozenset[str] = frozenset()
    asks: Sequence[Ask[Any]] = ()
    told: Sequence[Any] = ()


class Contention(Exception):
    """Another writer was in the way: the same transaction may be tried again."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


class RefusedError(Exception):
    """The database does not take these values; the SQLSTATE says why."""


def driver_url(url: str) -> str:
    """A libpq URL as SQLAlchemy's psycopg driver wants it."""
    scheme, _, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in {"postgres", "postgresql"} else url


class Database:
    """A pool of at most `connections`, made when first used and healed by itself after an outage.

    `statement_timeout_s` and `lock_timeout_s` end what hangs; `connect_timeout_s` bounds the wait for a connection.
    `plans_s`: how old the plan of what is `read` gets; `readers`: so many reads at once.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 10,
        connect_timeout_s: float = 5,
        statement_timeout_s: float = 30,
        lock_timeout_s: float = 5,
        plans_s: float = 5,
        readers: int = READERS,
    ) -> None:
        self.connections = connections
        options = (
            f"-c timezone=UTC -c datestyle=ISO -c statement_timeout={int(statement_timeout_s * 1000)}"
            f" -c lock_timeout={int(lock_timeout_s * 1000)} -c idle_in_transaction_session_timeout=60000"
            " -c jit=off"  # what is read by index costs less than compiling it, and plans that avoid scans look dear
        )
        arguments = {"connect_timeout": max(2, int(connect_timeout_s)), "application_name": "syncserver"}
        self._engine = create_async_engine(
            driver_url(url),
            pool_size=connections,
            max_overflow=0,
            pool_timeout=connect_timeout_s,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={**arguments, "options": f"{options} -c plan_cache_mode=force_custom_plan"},  # decision 7
        )
        writers = _lasting(url, {**arguments, "options": options})
        self._writing = Lasting(writers, Doubling)
        reading = _lasting(url, {**arguments, "options": f"{options} {_ONE_PLAN}"})
        self._reading = Lasting(reading, partial(Ageing, plans_s), most=readers, wait_s=connect_timeout_s)
        self.engines = (self._engine, writers, reading)

    @property
    def in_use(self) -> int:
        """How many connections somebody holds at this moment."""
        pool: Any = self._engine.pool  # a QueuePool, which counts
        return int(pool.checkedout()) + self._writing.in_use + self._reading.in_use

    async def close(self) -> None:
        """Close every connection."""
        await self._writing.close()
        await self._reading.close()
        for engine in self.engines:
            await engine.dispose()

    @asynccontextmanager
    async def transaction(
        self, owners: Collection[str], *, queue: bool = False, many: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        """One transaction over the rows of `owners`; commits at the end, rolls back on any error.

        `queue`: wait for other writers of these owners first (an advisory lock each, in order), so that server
        writers never meet on the rows; owners that are Turns say for how long. `many`: for a batch of Turns
        that do not wait: on a connection beside the pool, with rows that are logged together (decision 20).
        Raises Contention where trying again helps, Unavailable where the database is away, RefusedError for values
        that it does not take, Unauthorised for a session that has ended.
        """
        with _as_ours():
            if many and isinstance(owners, Turns):
                async with self._writing.one() as (connection, first):
                    await _asked(connection, owners, first, many=True)
                    yield connection
                return
            async with self._engine.begin() as connection:
                if queue and isinstance(owners, Turns):
                    await _turned(connection, owners)
                else:
                    await connection.execute(_BEGIN, {"owners": list(owners)})
                if queue and not isinstance(owners, Turns):
                    await connection.execute(_QUEUE, {"owners": list(owners)})
                yield connection

    async def read(self, owners: Iterable[str], ask: Ask[T]) -> T:
        """What one statement gives that sees the rows of `owners` and changes nothing, in one round trip.

        For statements that go by an index whatever there is, as their plans are kept for some seconds (decision 21).
        Raises Unavailable.
        """
        begin: Ask[None] = Ask(_BEGIN_READ, {"owners": trip.array(owners)})
        try:
            with _as_ours():
                async with self._reading.one() as (connection, first):
                    found = await trip.go(connection, *first, begin, ask, commit=True)
        except Contention as locked:
            raise Unavailable(_LOCKED_OUT) from locked
        return found[-1]  # type: ignore[no-any-return] # its own kind


def _lasting(url: str, arguments: Mapping[str, Any]) -> AsyncEngine:
    return create_async_engine(
        driver_url(url),
        poolclass=sa.NullPool,
        hide_parameters=True,
        connect_args={**arguments, "prepare_threshold": _ONLY_IF_ASKED},
    )


async def _turned(connection: AsyncConnection, turns: Turns) -> None:
    if not turns.wait_s:
        await _asked(connection, turns, [], many=False)
        return
    named = {"owners": list(turns)}
    await connection.execute(_BEGIN, named)
    await connection.execute(_PATIENCE, {"wait": f"{max(1, round(turns.wait_s * 1000))}ms"})
    await connection.execute(_QUEUE, named)
    turns.told = await trip.go(connection, *turns.asks)


async def _asked(connection: AsyncConnection, turns: Turns, first: Sequence[Ask[None]], *, many: bool) -> None:
    arguments = {"owners": trip.array(turns), "many": "on" if many else "off"}
    locks = Ask(_ASK, arguments, lambda rows: frozenset(rows[0][3]))
    turns.busy, *turns.told = (await trip.go(connection, *first, locks, *turns.asks))[len(first) :]


@contextmanager
def _as_ours() -> Iterator[None]:
    """What SQLAlchemy and the driver raise, as what a caller can do about it."""
    try:
        yield
    except (SQLAlchemyError, psycopg.OperationalError, OSError) as error:
        _silence(error)
        raise _judged(error) from error


def _silence(error: Exception) -> None:
    """Leave of what PostgreSQL said its first sentence: what follows repeats rows, and errors are logged."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(origin, psycopg.Error):
        for one in {error, origin}:
            one.args = (str(one).partition("\n")[0],)


def _judged(error: Exception) -> Exception:
    """The same error as what a caller can do about it."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    sqlstate = getattr(origin, "sqlstate", None)
    if sqlstate in _RETRY:
        return Contention(sqlstate)
    if sqlstate == _ENDED:
        return Unauthorised("This session has ended.")
    if sqlstate and sqlstate.startswith(_VALUES):
        return RefusedError(sqlstate)
    away = sqlstate in _NOT_NOW or isinstance(
        origin, psycopg.OperationalError | psycopg.InterfaceError | PoolTimeout | OSError
    )
    if away or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return Unavailable("The database does not answer; nothing was changed, try again.")
    return error
