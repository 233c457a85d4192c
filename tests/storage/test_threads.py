"""The law of pages: one way or the other, and whatever is written behind, together they are the list."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncserver import resources
from syncserver.core import clock
from syncserver.storage import threads
from syncserver.storage.database import Database
from syncserver.storage.rows import Listed
from syncserver.storage.threads import Span
from tests.harness import Urls

MESSAGES = resources.catalog()["messages"]
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOME, OTHER = str(UUID(int=1)), str(UUID(int=2))
OWNER = "user:ada"
Place = tuple[datetime, str]

_PLACES = st.tuples(st.integers(0, 3), st.integers(1, 10_000)).map(
    lambda found: (NOW + timedelta(seconds=found[0]), str(UUID(int=found[1])))
)
_LISTS = st.lists(_PLACES, max_size=14, unique_by=lambda place: place[1])


def place(row: Listed) -> Place:
    return clock.read(orjson.loads(row.json)["created_at"]), row.key


def write(sql: psycopg.Connection, places: list[Place], home: str = HOME) -> None:
    for at, key in places:
        sql.execute(
            "INSERT INTO messages (owner, id, conversation_id, role, content, created_at)"
            " VALUES (%s, %s, %s, 'user', 'Hi', %s) ON CONFLICT DO NOTHING",
            [OWNER, key, home, at],
        )


async def page(database: Database, span: Span) -> list[Place]:
    async with database.transaction([OWNER]) as connection:
        return [place(row) for row in await threads.listed(connection, MESSAGES, OWNER, HOME, span)]


async def walk(url: str, sql: psycopg.Connection, limit: int, behind: list[Place], *, backward: bool) -> list[Place]:
    """All pages from one end, one after the other; before each but the first, one more row is written behind it."""
    database = Database(url)
    try:
        seen: list[Place] = []
        while found := await page(database, Span(limit, seen[0 if backward else -1] if seen else None, backward)):
            assert len(found) <= limit
            seen = [*found, *seen] if backward else [*seen, *found]
            if behind:
                passed = seen[0] if backward else seen[-1]
                late = behind.pop()
                if (late > passed) if backward else (late < passed):
                    write(sql, [late])
        return seen
    finally:
        await database.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(there=_LISTS, behind=_LISTS, limit=st.integers(1, 6), backward=st.booleans())
def test_pages_together_are_the_list_whatever_is_written_behind(
    database: Urls, sql: psycopg.Connection, there: list[Place], behind: list[Place], limit: int, backward: bool
):
    sql.execute("DELETE FROM conversations")
    for home in (HOME, OTHER):
        sql.execute("INSERT INTO conversations (owner, id, title) VALUES (%s, %s, 'On Ahab')", [OWNER, home])
    write(sql, there)
    write(sql, [(NOW, str(UUID(int=20_000)))], OTHER)
    late = [one for one in behind if one[1] not in {key for _, key in there}]
    assert asyncio.run(walk(database.server, sql, limit, late, backward=backward)) == sorted(there)


def test_a_page_is_a_walk_along_the_index_however_long_the_conversation_is(sql: psycopg.Connection):
    sql.execute("INSERT INTO conversations (owner, id, title) VALUES (%s, %s, 'On Ahab')", [OWNER, HOME])
    sql.execute(
        "INSERT INTO messages (owner, id, conversation_id, role, content, created_at)"
        " SELECT %s, gen_random_uuid(), %s, 'user', 'Hi', now() + n * interval '1 ms' FROM generate_series(1, 2000) n",
        [OWNER, HOME],
    )
    sql.execute("ANALYZE messages, changes")
    statement = str(threads._listed(MESSAGES, resumed=True, backward=True).text)
    for name in ("owner", "home", "count", "resource", "at", "past"):
        statement = statement.replace(f":{name}", f"%({name})s")
    arguments = {"owner": OWNER, "home": HOME, "count": 50, "resource": "messages", "at": NOW, "past": HOME}
    plan = "\n".join(row[0] for row in sql.execute(f"EXPLAIN {statement}".encode(), arguments))
    assert "messages_owner_conversation_id_idx" in plan
    assert "Seq Scan" not in plan
