"""Somebody has locked a table, as an ALTER TABLE does: whoever reads hears to try again, and misses nothing."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import httpx
import psycopg
import pytest

from syncserver.app import wiring
from syncserver.storage.database import Database
from tests.api.problems import problem
from tests.harness import Live, Serving, Urls
from tests.transports.sockets import greeted

LOCK = "LOCK TABLE reading_progress IN ACCESS EXCLUSIVE MODE"


@pytest.fixture
async def live(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Live]:
    monkeypatch.setattr(wiring, "Database", partial(Database, lock_timeout_s=0.05))
    async with serving() as server:
        yield server


@pytest.fixture
async def http(live: Live) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{live.url}/api/v1", headers=live.headers("ada"), timeout=30) as client:
        yield client


@pytest.mark.parametrize("path", ["/progress", "/progress/moby-dick", "/changes"])
async def test_over_http_it_is_503_with_a_time(http: httpx.AsyncClient, sql: psycopg.Connection, path: str):
    with sql.transaction():
        sql.execute(LOCK)
        answer = await http.get(path)
        problem(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert (await http.get(path)).status_code in {200, 204, 404}


async def test_a_socket_that_subscribes_is_told_and_stays(live: Live, sql: psycopg.Connection):
    async with greeted(live) as socket:
        with sql.transaction():
            sql.execute(LOCK)
            await socket.say({"type": "subscribe", "cursor": None})
            told = await socket.hear_until("error")
            assert (told["code"], told["retry_after_s"] > 0) == ("unavailable", True)
        await socket.say({"type": "subscribe", "cursor": None})
        await socket.hear_until("ready")


async def test_what_is_written_meanwhile_comes_when_the_lock_is_gone(
    live: Live, database: Urls, sql: psycopg.Connection, caplog: pytest.LogCaptureFixture
):
    async with greeted(live) as socket:
        await socket.say({"type": "subscribe", "cursor": None})
        await socket.hear_until("ready")
        with sql.transaction():
            sql.execute(LOCK)
            with psycopg.connect(database.owner, autocommit=True) as other:
                other.execute("INSERT INTO sessions (owner, id) VALUES ('user:ada', gen_random_uuid())")
            async with asyncio.timeout(20):
                while "the log cannot be read" not in caplog.text:  # noqa: ASYNC110 - turns of the loop, until it is told
                    await asyncio.sleep(0)
        [row] = (await socket.hear_until("changes"))["rows"]
        assert row["resource"] == "sessions"
    assert "failed" not in caplog.text
