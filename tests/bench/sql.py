"""Somebody at psql: counts and ends the server's connections, and writes rows past the server, on the record.

What is written goes into a table of the run's own in the same transaction, so that it is known after any crash.
"""

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from syncserver.core.resolver import Version
from tests.bench.fold import EMPTY, Placed

NAME = "soak"
LOST = (psycopg.OperationalError, psycopg.InterfaceError)
"""What a connection to a killed database raises; the next call makes another connection."""

CONNECT_S, AGAIN_S = 5, 0.05
_RECORD = (
    'CREATE SCHEMA soak; CREATE TABLE soak.writes AS SELECT *, 0::bigint AS "offset" FROM reading_progress LIMIT 0'
)
_PUT = """
    INSERT INTO reading_progress (owner, publication_id, percentage, furthest, position)
    VALUES (%(owner)s, %(key)s, %(percentage)s, %(percentage)s, %(position)s)
    ON CONFLICT (owner, publication_id) DO UPDATE SET percentage = excluded.percentage, position = excluded.position,
      furthest = greatest(reading_progress.furthest, excluded.furthest)
"""
_MOVE = """
    UPDATE reading_progress SET percentage = %(percentage)s, position = %(position)s,
      furthest = greatest(furthest, %(percentage)s)
    WHERE owner = %(owner)s AND publication_id = %(key)s
"""
_NOTE = """
    INSERT INTO soak.writes SELECT p.*, c."offset" FROM reading_progress AS p JOIN changes AS c
      ON (c.owner, c.resource, c.key) = (p.owner, 'progress', p.publication_id)
    WHERE p.owner = %(owner)s AND p.publication_id = %(key)s
"""
_HOARD = """
    INSERT INTO reading_progress (owner, publication_id, percentage, position)
    SELECT %(owner)s, 'hoard-' || n, 0.5, repeat('x', 300) FROM generate_series(1, %(rows)s) AS n
"""
_COUNT = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND application_name <> %s
"""
_END = """
    SELECT count(pg_terminate_backend(pid)) FROM (
      SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s
      ORDER BY pid LIMIT %s
    ) AS chosen
"""


class Sql:
    """The database's owner on one connection, which is made when needed; every call may raise one of LOST."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._made: psycopg.AsyncConnection[DictRow] | None = None
        self._turn = asyncio.Lock()
        self.written = 0

    async def close(self) -> None:
        """Leave."""
        if self._made is not None:
            await self._made.close()

    async def prepare(self) -> None:
        """Make the table that keeps the record."""
        await self._one(_RECORD)

    async def answers(self) -> None:
        """Return when the database takes statements (again)."""
        while True:
            with suppress(*LOST):
                await self._one("SELECT")
                return
            await asyncio.sleep(AGAIN_S)

    async def connections(self) -> int | None:
        """How many the server has; None while the database is away."""
        try:
            return int((await self._one(_COUNT, [NAME]))["count"])
        except LOST:
            return None

    async def end(self, application: str, most: int) -> int:
        """End some of an application's connections; how many there were."""
        return int((await self._one(_END, [application, most]))["count"])

    async def write(self, owner: str, key: str, percentage: float, *, new: bool) -> None:
        """Move the reader in a book, as no device would; `new`: also where there is no row yet."""
        self.written += 1
        values = {"owner": owner, "key": key, "percentage": percentage, "position": f"psql-{self.written}"}
        async with self._turn:
            connection = await self._connection()
            async with connection.transaction():
                moved = await connection.execute(_PUT if new else _MOVE, values)
                if moved.rowcount:
                    await connection.execute(_NOTE, values)

    async def hoard(self, owner: str, rows: int) -> None:
        """Give an owner so many rows, which are not on the record."""
        await self._one(_HOARD, {"owner": owner, "rows": rows})

    async def record(self) -> dict[str, dict[str, list[Placed]]]:
        """What was written and committed, by owner and key."""
        found: dict[str, dict[str, list[Placed]]] = defaultdict(lambda: defaultdict(list))
        async with self._turn:
            connection = await self._connection()
            for row in await (await connection.execute("SELECT * FROM soak.writes")).fetchall():
                found[row["owner"]][row["publication_id"]].append(_placed(row))
        return found

    async def _one(self, statement: str, values: Any = None) -> DictRow:
        async with self._turn:
            connection = await self._connection()
            done = await connection.execute(statement, values)
            return (await done.fetchone() or {}) if done.description else {}

    async def _connection(self) -> psycopg.AsyncConnection[DictRow]:
        if self._made is None or self._made.closed:
            self._made = await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, row_factory=dict_row, application_name=NAME, connect_timeout=CONNECT_S
            )
        return self._made


def _placed(row: DictRow) -> Placed:
    fields = {name: row[name] for name in EMPTY}
    return Placed(row["offset"], Version(fields, row["updated_at"], row["device_id"] or "", row["offset"]))
