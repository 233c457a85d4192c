"""Several statements in one round trip: they go to the database together, and their answers come back together.

They go below SQLAlchemy, in libpq's pipeline, and on some connections they stay prepared: of a small batch of writes,
sending, parsing and planning one after the other cost more than the rows did (decision 20).
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Generic, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg import errors, generators, pq, waiting
from psycopg.adapt import Transformer
from sqlalchemy.dialects.postgresql import psycopg as dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")
_KNOWN = "statements that are prepared"
_DRIVER = "the driver's connection"
_DIALECT = dialect.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call] # as SQLAlchemy has it
_FAILED = frozenset({pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED})
_STALE = b"0A000"
"""What a prepared statement says once a migration has changed what it returns."""

Value = str | int | datetime | None


def _nothing(_: Sequence[Any]) -> None:
    """A statement whose rows nobody wants."""


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """A statement with its arguments, and what its rows are turned into."""

    statement: sa.TextClause
    arguments: Mapping[str, Value]
    read: Callable[[Sequence[Any]], T] = _nothing  # type: ignore[assignment] # for T = None


async def go(connection: AsyncConnection, *asks: Ask[Any], commit: bool = False) -> list[Any]:
    """What these statements gave, in order; each sees what those before it did. `commit`: that is the end, too.

    Raises what SQLAlchemy would; then none of those behind the one that failed was carried out.
    """
    if not asks and not commit:
        return []
    raw = await driver(connection)
    try:
        async with raw.lock:
            found = await _gone(raw, connection.info.get(_KNOWN), asks, commit=commit)
    except psycopg.Error as error:
        raise DBAPIError.instance(None, None, error, psycopg.Error, hide_parameters=True) from error
    except BaseException:
        await connection.invalidate()  # it is closed: a rollback would fail, and hide what this was
        raise
    return [ask.read(rows) for ask, rows in zip(asks, found, strict=True)]


async def one(connection: AsyncConnection, ask: Ask[T]) -> T:
    """What a single statement gave."""
    [found] = await go(connection, ask)
    return found  # type: ignore[no-any-return] # its own kind


def prepare(connection: AsyncConnection) -> None:
    """From now on statements stay prepared on it. Nothing else may be: a driver that rolls back forgets them all."""
    connection.info[_KNOWN] = _Prepared()


async def driver(connection: AsyncConnection) -> psycopg.AsyncConnection:
    """The driver's connection under this one; asked for once, as that takes a greenlet."""
    raw = connection.info.get(_DRIVER)
    if raw is None:
        raw = connection.info[_DRIVER] = (await connection.get_raw_connection()).driver_connection
    if not isinstance(raw, psycopg.AsyncConnection):
        raise TypeError(type(raw))
    return raw


def array(texts: Iterable[str]) -> str:
    """Texts as PostgreSQL writes an array of them: a tenth of what the driver takes for a list."""
    return "{" + ",".join(['"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts]) + "}"


@dataclass(slots=True)
class _Prepared:
    """The statements that are prepared on a connection, by name. `number`: how many names were ever given."""

    names: dict[str, bytes] = field(default_factory=dict)
    number: int = 0

    def name(self, text: str) -> bytes:
        """A name for it, never given before."""
        self.number += 1
        self.names[text] = b"trip_%d" % self.number
        return self.names[text]

    def forget(self, fresh: Mapping[int, str], results: Sequence[pq.abc.PGresult]) -> None:
        """Those that could not be prepared, or whose results a migration has changed, need another name."""
        if any(result.error_field(pq.DiagnosticField.SQLSTATE) == _STALE for result in results):
            self.names.clear()
        for place, text in fresh.items():
            if results[place].status in _FAILED:
                self.names.pop(text, None)


async def _gone(
    raw: psycopg.AsyncConnection, known: _Prepared | None, asks: Sequence[Ask[Any]], *, commit: bool
) -> list[Sequence[Any]]:
    """The rows of each."""
    to, sends, places = raw.pgconn, list[Callable[[], None]](), list[int]()
    fresh = dict[int, str]()
    if to.transaction_status == pq.TransactionStatus.IDLE:
        sends.append(partial(to.send_query_params, b"BEGIN", None))
    for ask in asks:
        text, order = _compiled(ask.statement)
        values = [_as_text(ask.arguments[name]) for name in order]
        if known is None:
            send = partial(to.send_query_params, text.encode(), values)
        else:
            if text not in known.names:
                fresh[len(sends)] = text
                sends.append(partial(to.send_prepare, known.name(text), text.encode()))
            send = partial(to.send_query_prepared, known.names[text], values)
        places.append(len(sends))
        sends.append(send)
    if commit:
        sends.append(partial(to.send_query_params, b"COMMIT", None))
    to.enter_pipeline_mode()
    try:
        results = await raw.wait(_exchanged(to, sends))
        to.exit_pipeline_mode()
    except BaseException:
        to.finish()  # nobody could tell any more which answer belongs to which statement
        raise
    failed = next((result for result in results if result.status in _FAILED), None)
    if failed is not None:
        if known is not None:
            known.forget(fresh, results)
        raise errors.error_from_result(failed, "utf-8")
    loads = Transformer(raw)
    return [_rows(loads, results[place]) for place in places]


def _exchanged(
    to: pq.abc.PGconn, sends: Sequence[Callable[[], None]]
) -> Generator[waiting.Wait, waiting.Ready | int, list[pq.abc.PGresult]]:
    """Send all of it at once, and wait for all the answers."""
    for send in sends:
        send()
    to.pipeline_sync()
    yield from generators.send(to)
    results: list[pq.abc.PGresult] = []
    for _ in sends:
        [result] = yield from generators.fetch_many(to)
        results.append(result)
    yield from generators.fetch_many(to)  # the end of the pipeline
    return results


def _rows(loads: Any, result: pq.abc.PGresult) -> Sequence[Any]:
    if not result.nfields:
        return ()
    loads.set_pgresult(result)
    rows: Sequence[Any] = loads.load_rows(0, result.ntuples, tuple)
    return rows


def _as_text(value: Value) -> bytes | None:
    return None if value is None else (value if isinstance(value, str) else str(value)).encode()


@lru_cache(maxsize=1_000)
def _compiled(statement: sa.TextClause) -> tuple[str, Sequence[str]]:
    """The statement as PostgreSQL takes it, and which argument is its first, second and so on."""
    compiled = statement.compile(dialect=_DIALECT)
    return str(compiled), tuple(compiled.positiontup or ())
