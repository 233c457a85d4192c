"""The server's way to PostgreSQL: a pool, and the one transaction that names its owners and commits.

Row-level security shows a transaction the rows of the owners that it was begun for, and no others.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from syncserver.core.errors import Unauthorised, Unavailable

SERIALIZATION = "40001"
_ENDED = "SE404"
UNIQUE = "23505"
LOCKED = "55P03"
_RETRY = (SERIALIZATION, "40P01", LOCKED, UNIQUE)
"""Serialization failure, deadlock, lock timeout, and a row that somebody else inserted first."""

_NOT_NOW = ("25006", "0A000")
"""Read-only, and not possible here: what a database that is recovering says of writes and of unlogged tables (and one
that was just migrated, of a plan that it had kept)."""
_VALUES = ("22", "23", "44", "54", "P0")
"""Classes of SQLSTATE in which the values are wrong (P0: a trigger said so): trying again cannot help."""

_BEGIN = sa.text("""
    SELECT set_config('syncserver.owners', CAST(:owners AS text[])::text, true),
           set_config('syncserver.stamped', 'on', true)
""")
_IN_ORDER = "(SELECT DISTINCT owner FROM unnest(CAST(:owners AS text[])) AS o (owner) ORDER BY owner) AS o"
_QUEUE = sa.text(f"SELECT pg_advisory_xact_lock(hashtextextended(owner, 0)) FROM {_IN_ORDER}")
_ASK = sa.text(f"SELECT owner FROM {_IN_ORDER} WHERE NOT pg_try_advisory_xact_lock(hashtextextended(owner, 0))")
_PATIENCE = sa.text("SELECT set_config('lock_timeout', :wait, true)")


class Turns(frozenset[str]):
    """Owners for a queued transaction that is not to stand still for one of them.

    Where `wait_s` is 0 it begins at once, and `busy` are then those for whom another writer is in the way: it must not
    write their rows. Else it waits for each of them, and for any other lock, that long at most.
    """

    wait_s: float = 0
    busy: frozenset[str] = frozenset()


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
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 10,
        connect_timeout_s: float = 5,
        statement_timeout_s: float = 30,
        lock_timeout_s: float = 5,
    ) -> None:
        self.connections = connections
        options = (
            f"-c timezone=UTC -c datestyle=ISO -c statement_timeout={int(statement_timeout_s * 1000)}"
            f" -c lock_timeout={int(lock_timeout_s * 1000)} -c idle_in_transaction_session_timeout=60000"
            " -c plan_cache_mode=force_custom_plan"  # decision 7
        )
        self._engine = create_async_engine(
            driver_url(url),
            pool_size=connections,
            max_overflow=0,
            pool_timeout=connect_timeout_s,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={
                "connect_timeout": max(2, int(connect_timeout_s)),
                "application_name": "syncserver",
                "options": options,
            },
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    @asynccontextmanager
    async def transaction(self, owners: Collection[str], *, queue: bool = False) -> AsyncIterator[AsyncConnection]:
        """One transaction over the rows of `owners`; commits at the end, rolls back on any error.

        `queue`: wait for other writers of these owners first (an advisory lock each, in order), so that server
        writers never meet on the rows; owners that are Turns say for how long. Raises Contention where trying again
        helps, Unavailable where the database is away, RefusedError for values that it does not take, Unauthorised for
        a session that has ended.
        """
        try:
            async with self._engine.begin() as connection:
                await connection.execute(_BEGIN, {"owners": list(owners)})
                if queue:
                    await _queued(connection, owners)
                yield connection
        except (SQLAlchemyError, psycopg.OperationalError, OSError) as error:
            _silence(error)
            raise _judged(error) from error


async def _queued(connection: AsyncConnection, owners: Collection[str]) -> None:
    named = {"owners": list(owners)}
    if isinstance(owners, Turns) and not owners.wait_s:
        owners.busy = frozenset((await connection.execute(_ASK, named)).scalars())
        return
    if isinstance(owners, Turns):
        await connection.execute(_PATIENCE, {"wait": f"{max(1, round(owners.wait_s * 1000))}ms"})
    await connection.execute(_QUEUE, named)


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
