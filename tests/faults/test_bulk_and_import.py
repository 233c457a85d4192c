"""Every statement of a bulk write and of an import, broken once: nothing of it is left, or all of it is there, once.

The client is told whether to try again, and where it is to, that succeeds.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import orjson
import psycopg
import pytest

from tests.e2e.homes import owned_tables
from tests.faults import statements
from tests.faults.statements import Statements, Way
from tests.harness import UNLIMITED, Live, Serving

Rows = dict[str, list[Any]]
Breaking = Callable[[int, Way], Awaitable[bool]]
_AT_ONCE = 4
_PROVE = os.environ.get("SYNCSERVER_PROVE")


@pytest.fixture
async def live(serving: Serving) -> AsyncIterator[Live]:
    async with serving(**UNLIMITED) as server:
        yield server


def owner_of(way: Way, number: int) -> str:
    """For each way and statement another, so that many can be tried at once."""
    return f"user:{way.name.replace(' ', '-')}-{number}"


def furnished(sql: psycopg.Connection, owner: str) -> str:
    """A session of this owner."""
    place = str(uuid4())
    sql.execute("INSERT INTO sessions (owner, id) VALUES (%s, %s)", [owner, place])
    return place


def stored(sql: psycopg.Connection, owner: str) -> Rows:
    """Every row that the owner has, of every table."""
    tables = ", ".join(
        f"(SELECT jsonb_agg(to_jsonb(t) ORDER BY to_jsonb(t)::text) FROM {table} t WHERE owner = %(owner)s) AS {table}"
        for table in owned_tables(sql)
        if table != "imports"
    )
    found = sql.execute(f"SELECT to_jsonb(all_of_it)::text FROM (SELECT {tables}) all_of_it".encode(), {"owner": owner})
    return {table: rows or [] for table, rows in orjson.loads(found.fetchall()[0][0]).items()}


BEFORE: dict[str, Any] = {
    "nodes": [{"node_id": "N001", "title": "Starbuck"}, {"node_id": "N002", "title": "Flask"}],
    "components": [{"component_id": "old", "node_id": "N001", "type": "text"}],
    "relationships": [{"relationship_id": "old", "from_node": "N001", "to_node": "N002", "type": "knows"}],
}
BULK: dict[str, Any] = {
    "remove": {"components": ["old"], "nodes": ["N001"]},
    "nodes": [{"temp": "ahab", "title": "Ahab"}, {"node_id": "N002", "title": "Stubb"}],
    "components": [{"component_id": "new", "node_id": {"$temp": "ahab"}, "type": "text"}],
    "relationships": [{"relationship_id": "new", "from_node": {"$temp": "ahab"}, "to_node": "N002", "type": "leads"}],
}
AFTER_BULK = {
    "nodes": {"N001": None, "N002": "Stubb", "N003": "Ahab"},
    "node_components": {"old": None, "new": "text"},
    "session_relationships": {"old": None, "new": "leads"},
}
NODES = """node_id,title,components
N001,Ahab,"[{""component_id"": ""new"", ""type"": ""text""}]"
N003,Stubb,
"""
RELATIONSHIPS = """relationship_id,from_node,to_node,type
new,N001,N003,leads
"""
AFTER_IMPORT = {
    "nodes": {"N001": "Ahab", "N002": "Flask", "N003": "Stubb"},
    "node_components": {"old": None, "new": "text"},
    "session_relationships": {"old": "knows", "new": "leads"},
}


def graph(sql: psycopg.Connection, owner: str) -> dict[str, dict[str, str | None]]:
    """The owner's rows by their own ids: what each is called, None for those of which a tombstone is left."""
    return {
        table: dict(
            sql.execute(
                f"SELECT split_part(c.key, ':', 2), {shown} FROM changes c LEFT JOIN {table} t ON t.owner = c.owner"
                " AND t.id = c.key WHERE c.owner = %s AND c.resource = %s".encode(),
                [owner, table],
            ).fetchall()
        )
        for table, shown in (("nodes", "title"), ("node_components", "type"), ("session_relationships", "type"))
    }


@dataclass
class Ground:
    """A server, its database, and what it sends there."""

    http: httpx.AsyncClient
    live: Live
    sql: psycopg.Connection
    watched: Statements

    async def bulk(self, owner: str, place: str, body: dict[str, Any]) -> httpx.Response:
        headers = self.live.headers(owner.removeprefix("user:"))
        return await self.http.post(f"/api/v1/sessions/{place}/bulk", json=body, headers=headers)

    async def imported(self, owner: str, place: str, import_id: str) -> httpx.Response:
        return await self.http.post(
            f"/api/v1/sessions/{place}/import",
            params={"existing": "replace", "import_id": import_id, "wait": 30},
            files={"nodes": ("nodes.csv", NODES), "relationships": ("relationships.csv", RELATIONSHIPS)},
            headers=self.live.headers(owner.removeprefix("user:")),
        )

    async def begun(self, owner: str) -> tuple[str, Rows]:
        """A session with something in it."""
        place = furnished(self.sql, owner)
        assert (await self.bulk(owner, place, BEFORE)).status_code == 200
        return place, stored(self.sql, owner)

    async def bulk_broken_at(self, number: int, way: Way) -> bool:
        """A bulk write whose statement of this number breaks; False where it has not that many."""
        owner, body = owner_of(way, number), {**BULK, "mutation_id": str(uuid4())}
        place, before = await self.begun(owner)
        self.watched.watch(owner, number, way)
        answer = await self.bulk(owner, place, body)
        if answer.status_code != 200:
            self._told_truly(answer, way)
            kept = stored(self.sql, owner) != before
            sent = self.watched.seen(owner)[number - 1]
            assert not kept or graph(self.sql, owner) == AFTER_BULK, f"half of it is left: {sent}"
            assert kept == (way.late and sent == "COMMIT")
            answer = await self.bulk(owner, place, body)
            assert answer.json()["status"] == ("duplicate" if kept else "applied"), answer.text
        assert answer.json()["counts"] == {"written": 4, "removed": 2}
        assert graph(self.sql, owner) == AFTER_BULK
        after = stored(self.sql, owner)
        assert (await self.bulk(owner, place, body)).json() == {**answer.json(), "status": "duplicate"}
        assert stored(self.sql, owner) == after
        return self.watched.broke(owner)

    def _told_truly(self, answer: httpx.Response, way: Way) -> None:
        """Whether to try again is what a client is to know."""
        assert answer.status_code == (503 if way.again else 422), answer.text
        assert ("Retry-After" in answer.headers) == way.again

    async def import_broken_at(self, number: int, way: Way) -> bool:
        """An import whose statement of this number breaks, of its transaction that writes; False as above."""
        owner = owner_of(way, number)
        place, before = await self.begun(owner)
        self.watched.watch(owner, number, way, statements.QUEUES)
        answer = await self.imported(owner, place, str(uuid4()))
        if answer.status_code != 200:
            self._told_truly(answer, way)
            assert answer.json()["report"]["retry"] == way.again
            assert stored(self.sql, owner) == before
            answer = await self.imported(owner, place, str(uuid4()))
        assert answer.json()["state"] == "done", answer.text
        assert graph(self.sql, owner) == AFTER_IMPORT
        return self.watched.broke(owner)

    async def anything_of_an_import_broken_at(self, number: int, way: Way) -> bool:
        """The same of all that an import does in the database: it reads, and it has a row of its own."""
        owner, import_id = owner_of(way, number), str(uuid4())
        place, before = await self.begun(owner)
        self.watched.watch(owner, number, way)
        answer = await self.imported(owner, place, import_id)
        for _ in range(3):
            assert graph(self.sql, owner) == AFTER_IMPORT or stored(self.sql, owner) == before
            if answer.status_code == 200:
                break
            assert answer.status_code == 503, answer.text
            ended = answer.json().get("report", {"retry": True})
            assert ended["retry"]
            import_id = str(uuid4()) if "state" in ended else import_id
            answer = await self.imported(owner, place, import_id)
        assert answer.json()["state"] == "done", answer.text
        assert graph(self.sql, owner) == AFTER_IMPORT
        return self.watched.broke(owner)

    async def all_of(self, broken: Breaking, tries: list[tuple[int, Way]]) -> list[bool]:
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int, way: Way) -> bool:
            async with room:
                return await broken(number, way)

        return await asyncio.gather(*(one(number, way) for number, way in tries))

    async def number(self, broken: Breaking) -> int:
        """How many statements there are where none breaks, up to the last COMMIT."""
        assert not await broken(0, statements.LOST)
        return len(self.watched.seen(owner_of(statements.LOST, 0)))


@pytest.fixture
async def ground(live: Live, sql: psycopg.Connection) -> AsyncIterator[Ground]:
    watched = Statements(live.parts.database, lambda pid: sql.execute("SELECT pg_terminate_backend(%s, 5000)", [pid]))
    async with httpx.AsyncClient(base_url=live.url, timeout=30) as http:
        yield Ground(http, live, sql, watched)


def tries(last: int, *, first: int = 1) -> list[tuple[int, Way]]:
    """Each statement in one way, the last in all of them; where there is more time, each in all."""
    some = [(number, statements.WAYS[number % len(statements.WAYS)]) for number in range(first, last)]
    every = [(number, way) for number in range(first, last) for way in statements.WAYS]
    return [*(every if _PROVE else some), *((last, way) for way in statements.WAYS)]


@pytest.mark.timeout(900 if _PROVE else 120)
async def test_a_bulk_write_that_breaks_at_any_statement_leaves_nothing_or_all_of_it(ground: Ground):
    await ground.number(ground.bulk_broken_at)
    last = ground.watched.seen(owner_of(statements.LOST, 0)).index("COMMIT") + 1
    assert last > 20
    assert all(await ground.all_of(ground.bulk_broken_at, tries(last)))


@pytest.mark.timeout(900 if _PROVE else 120)
async def test_an_import_that_breaks_at_any_statement_leaves_nothing_or_all_of_it(ground: Ground):
    last = await ground.number(ground.import_broken_at)
    assert ground.watched.seen(owner_of(statements.LOST, 0))[-1] == "COMMIT"
    assert last > 15
    assert all(await ground.all_of(ground.import_broken_at, tries(last)))


@pytest.mark.timeout(900 if _PROVE else 120)
async def test_an_import_that_breaks_at_anything_that_it_does_can_be_sent_again(ground: Ground):
    """All but its transaction that writes. How often it says that it runs varies: not each number is a statement's."""
    last = await ground.number(ground.anything_of_an_import_broken_at)
    seen = ground.watched.seen(owner_of(statements.LOST, 0))
    began = next(place for place, statement in enumerate(seen, 1) if statements.QUEUES in statement)
    ended = next(place for place, statement in enumerate(seen, 1) if place > began and statement == "COMMIT")
    passing = [way for way in statements.WAYS if way.again and way is not statements.CLASHED]
    others = [*range(1, began), *range(ended + 1, last + 1)]
    assert len(others) > 10
    each = [(number, passing[number % len(passing)]) for number in others]
    assert any(await ground.all_of(ground.anything_of_an_import_broken_at, each))
