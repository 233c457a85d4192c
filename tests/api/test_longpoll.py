"""Long-poll: an answer when there is news, nothing held meanwhile, nothing lost between two questions."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from syncserver.core.change import Page
from syncserver.core.cursor import Cursor
from syncserver.core.errors import Unavailable
from tests.api.problems import problem
from tests.harness import Live, Serving, Urls

WAIT = 60


@pytest.fixture
async def http(serving: Serving) -> AsyncIterator[httpx.AsyncClient]:
    async with serving() as live, client(live) as http:
        yield http


def client(live: Live, user: str = "ada") -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"{live.url}/api/v1", headers=live.headers(user), timeout=90)


async def write(http: httpx.AsyncClient, *keys: str) -> None:
    mutations = [
        {"mutation_id": str(uuid4()), "resource": "progress", "key": key, "op": "put", "data": {}} for key in keys
    ]
    answer = await http.post("/push", json={"device": {"id": "d"}, "client_id": str(uuid4()), "mutations": mutations})
    assert {ack["status"] for ack in answer.json()["acks"]} == {"applied"}


def waiting(http: httpx.AsyncClient, wait: int = WAIT, **query: Any) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(http.get("/changes", params={"wait": wait, **query}))


async def someone_waits(live: Live, number: int = 1) -> None:
    """Until this many hang on the hub, caught up."""
    async with asyncio.timeout(20):
        while sum(s.standing.name == "LIVE" for s in live.parts.hub) < number:  # noqa: ASYNC110 - turns of the loop
            await asyncio.sleep(0)


async def nobody_waits(live: Live) -> None:
    async with asyncio.timeout(20):
        while len(live.parts.hub) or len(live.parts.house):  # noqa: ASYNC110 - turns of the loop, until it is so
            await asyncio.sleep(0)


async def test_what_is_there_already_is_answered_at_once(http: httpx.AsyncClient):
    await write(http, "a", "b")
    answer = await waiting(http)
    assert [row["key"] for row in answer.json()["rows"]] == ["a", "b"]
    assert answer.headers["etag"] == f'"{answer.headers["sync-cursor"]}"'
    assert answer.headers["cache-control"] == "private, no-store"


async def test_a_change_ends_the_wait_of_everybody_on_its_channel_and_of_nobody_else(live: Live):
    async with client(live) as ada, client(live, "eve") as eve:
        polls = [waiting(ada) for _ in range(3)]
        other = waiting(eve)
        await someone_waits(live, 4)
        await write(ada, "a")
        answers = await asyncio.gather(*polls)
        assert [[row["key"] for row in answer.json()["rows"]] for answer in answers] == [["a"]] * 3
        assert not other.done()
        other.cancel()
    await nobody_waits(live)


async def test_a_change_typed_into_sql_ends_the_wait(live: Live, database: Urls):
    async with client(live) as ada:
        await write(ada, "a")
        poll = waiting(ada, cursor=(await ada.get("/changes")).headers["sync-cursor"])
        await someone_waits(live)
        with psycopg.connect(database.owner) as connection:
            connection.execute("UPDATE reading_progress SET percentage = 0.75")
        assert [row["data"]["percentage"] for row in (await poll).json()["rows"]] == [0.75]


async def test_nothing_is_lost_between_reading_and_waiting(live: Live):
    """One writes without pause, the other asks again and again: every offset comes, once and in order."""
    async with client(live) as writer, client(live) as poller:
        writing = asyncio.create_task(_write_on(writer, 60))
        offsets, query = list[int](), dict[str, str]()
        while len(offsets) < 60:
            answer = await poller.get("/changes", params={"wait": WAIT, **query})
            query = {"cursor": answer.headers["sync-cursor"]}
            offsets += [row["offset"] for row in answer.json()["rows"]] if answer.status_code == 200 else []
        await writing
    assert offsets == list(range(1, 61))


async def _write_on(http: httpx.AsyncClient, times: int) -> None:
    for n in range(times):
        await write(http, str(n))


async def test_what_is_committed_while_it_reads_is_not_lost(serving: Serving, monkeypatch: pytest.MonkeyPatch):
    """The doorbell rings when the page was read and nobody waits yet; no sweep comes to help."""
    async with serving(sweep_s=1000) as live, client(live) as ada, client(live) as writer:
        pull, feed, rung, first = live.parts.pull.page, live.parts.feed, asyncio.Event(), asyncio.Event()
        watched = feed._watched

        def heard(owners: Collection[str]) -> dict[str, int]:
            rung.set()
            return watched(owners)

        async def then_written(*asked: Any, **more: Any) -> Page:
            page = await pull(*asked, **more)
            if not first.is_set():
                first.set()
                await write(writer, "a")
                await rung.wait()
            return page

        monkeypatch.setattr(feed, "_watched", heard)
        monkeypatch.setattr(live.parts.pull, "page", then_written)
        async with asyncio.timeout(30):
            answer = await waiting(ada)
        assert [row["key"] for row in answer.json()["rows"]] == ["a"]


async def test_without_news_the_end_of_the_wait_is_204_with_the_cursor(http: httpx.AsyncClient):
    await write(http, "a")
    cursor = (await http.get("/changes")).headers["sync-cursor"]
    answer = await waiting(http, 1, cursor=cursor)
    assert (answer.status_code, answer.headers["sync-cursor"], answer.headers["etag"]) == (204, cursor, f'"{cursor}"')
    same = await http.get("/changes", params={"wait": 1, "cursor": cursor}, headers={"If-None-Match": f'"{cursor}"'})
    assert same.status_code == 304


async def test_what_was_not_asked_for_moves_the_cursor_and_does_not_end_the_wait(live: Live, database: Urls):
    async with client(live) as ada:
        poll = waiting(ada, 2, resources="progress")
        await someone_waits(live)
        with psycopg.connect(database.owner) as connection:  # a change of some other resource
            connection.execute("UPDATE channels SET head = head + 1 WHERE owner = 'user:ada'")
            connection.execute("INSERT INTO channels (owner, head) VALUES ('user:ada', 1) ON CONFLICT DO NOTHING")
            connection.execute("SELECT pg_notify('syncserver', 'user:ada')")
        answer = await poll
    assert answer.status_code == 204
    assert Cursor.parse(answer.headers["sync-cursor"]).offset == 1


async def test_a_client_that_goes_away_leaves_nothing_behind(live: Live):
    async with client(live) as ada:
        poll = waiting(ada)
        await someone_waits(live)
        assert len(live.parts.house) == 1
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        await nobody_waits(live)


async def test_many_wait_without_a_database_connection(serving: Serving):
    async with serving(database_connections=2, streams_per_owner=0) as live, client(live) as ada:
        ada.timeout = httpx.Timeout(90)
        polls = [waiting(ada) for _ in range(40)]
        await someone_waits(live, 40)
        assert live.parts.database.in_use == 0
        await write(ada, "a")
        assert {answer.status_code for answer in await asyncio.gather(*polls)} == {200}


async def test_a_draining_server_answers_whoever_waits_and_whoever_comes(live: Live):
    async with client(live) as ada:
        poll = waiting(ada)
        await someone_waits(live)
        await live.parts.house.drain(0, 10)
        assert (await poll).status_code == 204
        assert (await waiting(ada)).status_code == 204


async def test_an_outage_during_the_wait_is_503_with_a_time_to_try_again(live: Live, monkeypatch: pytest.MonkeyPatch):
    async with client(live) as ada:
        poll = waiting(ada)
        await someone_waits(live)

        async def away(*_: Any) -> None:
            raise Unavailable("away")

        monkeypatch.setattr(live.parts.pull, "page", away)
        for bell in live.parts.hub:
            bell.end("epoch")
        answer = await poll
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"


async def test_a_log_that_is_another_ends_the_wait_with_410(live: Live):
    async with client(live) as ada:
        poll = waiting(ada)
        await someone_waits(live)
        live.parts.hub.refetch("user:ada", "epoch")
        assert problem(await poll, 410, "refetch")["reason"] == "epoch"


async def test_an_unknown_resource_is_invalid_and_says_where(http: httpx.AsyncClient):
    for wait in (0, 5):
        found = problem(await http.get("/changes", params={"resources": "nothing", "wait": wait}), 422, "invalid")
        assert [place["pointer"] for place in found["errors"]] == ["/query/resources"]
