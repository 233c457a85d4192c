"""What a reader wants to know, after a million events: the plans of its queries, and the time that they take.

One owner reads for nine years, 300 saves of 30 s an evening, two sessions, a new book every 20 days; written by SQL,
then asked as the server asks. `python tests/bench/stats.py [--events 1000000] [--plans]`
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
import sqlalchemy as sa

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from syncserver import resources  # noqa: E402 - after the path to this checkout
from syncserver.engine.statistics import Statistics  # noqa: E402
from syncserver.storage import embedded, schema, statistics  # noqa: E402
from syncserver.storage.database import Database  # noqa: E402

OWNER, ZONE = "user:ada", "Europe/Berlin"
SAVES_A_DAY = 300
TIMES = 15
_FIRST = "timestamptz '2017-01-01 18:07Z'"
_AT = f"{_FIRST} + (n / {SAVES_A_DAY}) * interval '1 day' + (n %% {SAVES_A_DAY}) * interval '30 seconds'"
_LIFE = f"""
    CREATE TEMP TABLE saves AS
    SELECT n, {_AT} AS at, md5((n / {SAVES_A_DAY // 2})::text)::uuid AS session_id,
      'book ' || n / {SAVES_A_DAY * 20} AS publication_id,
      n %% {SAVES_A_DAY * 20} / {SAVES_A_DAY * 20}.0 AS percentage
    FROM generate_series(0, %(events)s - 1) AS n
"""
_EVENTS = """
    INSERT INTO session_events (owner, id, session_id, type, at, data, device_id, updated_at)
    SELECT %(owner)s, gen_random_uuid(), session_id, 'saved', at, jsonb_build_object('percentage', percentage),
      'phone', at
    FROM saves
"""
# The fifth save of each five counts ten seconds less: sets with holes, as in life.
_TIMES = """
    INSERT INTO reading_times (owner, session_id, quarter, publication_id, active, pages, span)
    SELECT %(owner)s, session_id, date_bin('15 minutes', at, '2000-01-01Z'), max(publication_id),
      range_agg(tstzrange(at, at + CASE n %% 5 WHEN 0 THEN interval '20 s' ELSE interval '30 s' END)),
      range_agg(int4range(n %% 6000 / 10, n %% 6000 / 10 + 1)),
      range_agg(numrange(percentage, percentage + 1 / 6000.0))
    FROM saves GROUP BY session_id, date_bin('15 minutes', at, '2000-01-01Z')
"""
_SESSIONS = """
    INSERT INTO reading_sessions (owner, id, publication_id, title, status, started_at, last_activity, percentage,
      active_seconds, state, device_id, updated_at)
    SELECT %(owner)s, session_id, max(publication_id), 'A title', 'paused', min(at), max(at), max(percentage),
      0, jsonb_build_object('scroll', repeat(md5(session_id::text), 30)), 'phone', max(at)
    FROM saves GROUP BY session_id
"""
_READINGS = """
    INSERT INTO readings (owner, session_id, publication_id, ordinal, started_at, finished_at, active_seconds, session,
      updated_at)
    SELECT %(owner)s, (array_agg(session_id ORDER BY at DESC))[1], publication_id, 1, min(at), max(at), 0,
      jsonb_build_object('state', repeat(md5(publication_id), 30)), max(at)
    FROM saves WHERE n / 6000 %% 3 = 0 GROUP BY publication_id
"""


def filled(url: str, events: int, owner: str = OWNER) -> None:
    """One owner's reading of years, with so many events."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # the log of changes is not what is measured
        for statement in (_LIFE, _EVENTS, _TIMES, _SESSIONS, _READINGS):
            connection.execute(statement.encode(), {"owner": owner, "events": events})
        connection.execute("VACUUM ANALYZE")


def last_day(events: int) -> date:
    """The day of the last save."""
    return date(2017, 1, 1) + timedelta(days=(events - 1) // SAVES_A_DAY)


def questions(events: int) -> dict[str, tuple[sa.TextClause, Mapping[str, Any]]]:
    """Each query that an answer is made of, for the last 366 days."""
    last = last_day(events)
    asked = statistics._arguments(statistics.Asked(OWNER, ZONE, last - timedelta(days=365), last))
    books = [f"book {n}" for n in range((events - 1) // 6000 + 1)][-19:]
    return {
        "days and publications": (statistics._SPENT, asked),
        "streaks": (statistics._RUNS, asked),
        "readings": (statistics._FINISHED, asked),
        "where the publications stand": (statistics._STANDING, {"owner": OWNER, "ids": books}),
    }


async def plan(database: Database, statement: sa.TextClause, arguments: Mapping[str, Any]) -> list[str]:
    """What PostgreSQL does for a query, and how long that takes; as the server's role."""
    explained = sa.text(f"EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF, SUMMARY ON) {statement.text}")
    named = {name: value for name, value in arguments.items() if f":{name}" in statement.text}
    async with database.transaction([OWNER]) as connection:
        return list((await connection.execute(explained, named)).scalars())


async def measured(url: str, events: int, *, plans: bool) -> None:
    """Print the plans, and the time of whole answers."""
    database = Database(url)
    for name, (statement, arguments) in questions(events).items():
        for _ in range(2):
            lines = await plan(database, statement, arguments)
        print(f"\n{name}: {lines[-1].strip()}")
        if plans:
            print("\n".join(lines))
    last = last_day(events)
    verb = Statistics(database, lambda: datetime(last.year, last.month, last.day, 22, tzinfo=UTC))
    for days, first in (("366 days", None), ("ten years", last - timedelta(days=3_650))):
        took: list[float] = []
        for _ in range(TIMES):
            began = time.perf_counter()
            answer = await verb.of(OWNER, ZONE, first=first)
            took.append(time.perf_counter() - began)
        print(
            f"\na whole answer over {days}: median {median(took) * 1000:.0f} ms, worst {max(took) * 1000:.0f} ms"
            f" ({len(answer.days)} days, {len(answer.publications)} publications, streak {answer.streak.current_days})"
        )
    await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--plans", action="store_true", help="print the plans, too")
    given = parser.parse_args()
    resources.catalog()
    folder = Path(tempfile.mkdtemp(prefix="syncserver-bench-"))
    folder.chmod(0o755)
    server = embedded.EmbeddedPostgres(folder)
    server.start()
    try:
        schema.upgrade(server.owner_url)
        filled(server.owner_url, given.events)
        asyncio.run(measured(server.server_url, given.events, plans=given.plans))
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
