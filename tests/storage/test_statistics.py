"""How PostgreSQL finds what statistics are made of: the owner's own rows, by an index, and never an event."""

from datetime import date

import psycopg
import pytest

from syncserver.storage import statistics, tables
from syncserver.storage.database import Database
from tests.bench import stats
from tests.harness import Urls

EVENTS = 30_000
OTHERS = {"reading_times": 20, "reading_sessions": 20, "readings": 2_000}
"""How many have as many rows as Ada in each table: enough for an index to be worth its while."""


@pytest.fixture
def crowd(database: Urls, sql: psycopg.Connection) -> None:
    """Ada, who has read for a hundred days, and others who have read the same."""
    stats.filled(database.owner, EVENTS)
    sql.execute("SET session_replication_role = replica")
    for table, others in OTHERS.items():
        names = ", ".join(c.name for c in tables.metadata.tables[table].columns if c.name != "owner")
        sql.execute(
            f"INSERT INTO {table} (owner, {names}) SELECT 'user:' || n, {names}"
            f" FROM {table} CROSS JOIN generate_series(1, {others}) AS n WHERE owner = '{stats.OWNER}'".encode()
        )
    sql.execute("RESET session_replication_role")
    sql.execute("VACUUM ANALYZE")


@pytest.mark.usefixtures("crowd")
async def test_every_question_goes_by_the_owner_s_index_and_none_reads_events(server: Database):
    for name, (statement, arguments) in stats.questions(EVENTS).items():
        plan = "\n".join(await stats.plan(server, statement, arguments))
        assert "session_events" not in plan, name
        assert [table for table in OTHERS if f"Seq Scan on {table}" in plan] == [], f"{name}\n{plan}"
        assert "Index Cond: ((owner = " in plan or "Index Cond: (owner = " in plan, f"{name}\n{plan}"
    assert set(stats.questions(EVENTS)) == {
        "days and publications",
        "streaks",
        "readings",
        "where the publications stand",
    }


@pytest.mark.usefixtures("crowd")
async def test_only_the_quarters_of_the_days_asked_for_are_read(server: Database):
    statement, _ = stats.questions(EVENTS)["days and publications"]
    last = stats.last_day(EVENTS)
    asked = statistics.Asked(stats.OWNER, stats.ZONE, last, last)
    plan = await stats.plan(server, statement, statistics._arguments(asked))
    [condition] = [line for line in plan if "Index Cond" in line]
    assert "quarter >=" in condition
    assert "quarter <" in condition


async def test_the_zones_are_those_that_the_database_knows(server: Database, sql: psycopg.Connection):
    async with server.transaction([]) as connection:
        zones = await statistics.zones(connection)
    assert {"UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Chatham", "Europe/Berlin"} <= zones
    for zone in zones:
        sql.execute("SELECT now() AT TIME ZONE %s", [zone])


async def test_another_s_times_are_hidden_by_the_database_itself(server: Database, sql: psycopg.Connection):
    sql.execute(
        "INSERT INTO reading_times (owner, session_id, quarter, publication_id, active, pages, span) VALUES"
        " ('user:ada', gen_random_uuid(), '2026-03-01 12:00Z', 'moby', '{[2026-03-01 12:00Z,2026-03-01 12:05Z)}', '{}',"
        " '{}')"
    )
    day = date(2026, 3, 1)
    asked = statistics.Asked("user:ada", "UTC", day, day)
    for owner, seen in (("user:ada", 2), ("user:ben", 0)):
        async with server.transaction([owner]) as connection:
            assert len(await statistics.spent(connection, asked)) == seen
            assert len(await statistics.runs(connection, asked)) == min(seen, 1)
