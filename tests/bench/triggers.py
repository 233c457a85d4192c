"""Part `sql`: how much slower writing by plain SQL is for a table's being synced, beside the same table that is not.

What it costs: the triggers, the log of changes with its index, and the doorbell at each commit.
"""

import time
from collections.abc import Sequence
from uuid import uuid4

import psycopg

from tests.bench import product
from tests.bench.result import Baseline, Found, Result
from tests.bench.scale import Scale

_BARE = """
    CREATE TABLE bare_progress (LIKE reading_progress INCLUDING ALL) WITH (fillfactor = 70);
    CREATE TRIGGER furthest BEFORE INSERT OR UPDATE ON bare_progress
      FOR EACH ROW EXECUTE FUNCTION reading_progress_furthest_v1();
    ALTER TABLE bare_progress ALTER COLUMN updated_at SET DEFAULT now()
"""
_INSERT = """
    INSERT INTO {table} (owner, publication_id, percentage, position, position_kind)
    SELECT %(owner)s, 'book-' || %(turn)s || '-' || b, 0.25, '/body/DocFragment[12]/body/p[48]', 'xpointer'
    FROM generate_series(1, %(rows)s) AS b
"""
_UPDATE = """
    UPDATE {table} SET percentage = (%(turn)s %% 1000) / 1000.0
    WHERE owner = %(owner)s AND publication_id = ANY (SELECT 'book-0-' || generate_series(1, %(rows)s))
"""
_CASES = (("insert", _INSERT, 1), ("update", _UPDATE, 1), ("insert", _INSERT, 100), ("update", _UPDATE, 100))
_TABLES = ("reading_progress", "bare_progress")


def _rate(connection: psycopg.Connection, statement: str, table: str, rows: int, seconds: float) -> float:
    """Rows a second, in transactions of so many."""
    owner, turns = f"user:{uuid4()}", 0
    asked = {"owner": owner, "rows": rows}
    connection.execute(_INSERT.format(table=table).encode(), {**asked, "turn": 0})
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        turns += 1
        connection.execute(statement.format(table=table).encode(), {**asked, "turn": turns})
    return turns * rows / (time.monotonic() - begun)


def _case(connection: psycopg.Connection, what: str, statement: str, rows: int, scale: Scale) -> Result:
    ran: dict[str, list[float]] = {table: [] for table in _TABLES}
    for _ in range(scale.turns):
        for table in _TABLES:
            ran[table].append(_rate(connection, statement, table, rows, scale.seconds / 2))
    bare: Sequence[float] = sorted(ran["bare_progress"])
    name = f"{what} of {rows} row{'s' if rows > 1 else ''} a transaction"
    baselines = [Baseline("the same table, not synced", bare[len(bare) // 2])]
    return Result("sql", name, "rows/s", ran["reading_progress"], baselines)


def slowed(scale: Scale) -> Found:
    """Rows a second into a synced table, beside one that is not."""
    with product.running() as server, psycopg.connect(server.owner_url, autocommit=True) as connection:
        connection.execute(_BARE.encode())
        return Found([_case(connection, *case, scale) for case in _CASES])
