"""The server and the PostgreSQL of the fault runs: real, killed for real, and back."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import psycopg
import pytest

from tests.faults import launched
from tests.faults.kills import Kill, Point
from tests.faults.launched import Postgres, Server
from tests.harness import Urls, token

_BODY = {
    "device": {"id": "phone"},
    "client_id": "phone",
    "mutations": [
        {
            "mutation_id": "00000000-0000-7000-8000-000000000001",
            "resource": "progress",
            "key": "moby-dick",
            "op": "put",
            "data": {"position": "1"},
        }
    ],
}


@pytest.fixture
async def server(database: Urls) -> AsyncIterator[Server]:
    async with launched.zygote(database.server) as found:
        yield found


async def _write(server: Server) -> str:
    """The status that the write got; the same write each time."""
    headers = {"Authorization": f"Bearer {token('ada')}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers=headers) as http:
        answer = await http.post("/api/v1/push", json=_BODY)
    return str(answer.json()["acks"][0]["status"])


async def test_a_server_is_killed_and_started_again_on_its_port(server: Server):
    await server.start()
    assert await _write(server) == "applied"
    await server.kill()
    with pytest.raises(httpx.ConnectError):
        await _write(server)
    await server.start()
    assert await _write(server) == "duplicate"
    assert server.kills == 1


@pytest.mark.parametrize(("point", "then"), [("before", "applied"), ("between", "duplicate"), ("after", "duplicate")])
async def test_a_server_dies_where_it_was_told_to(server: Server, point: Point, then: str):
    await server.start(kill=Kill(point))
    if point == "after":
        await asyncio.gather(_write(server), return_exceptions=True)
    else:
        with pytest.raises(httpx.RemoteProtocolError):
            await _write(server)
    await server.gone()
    await server.start()
    assert await _write(server) == then


async def test_postgresql_is_killed_and_comes_back_with_what_was_committed():
    with launched.postgres() as database:
        with psycopg.connect(database.urls.owner, autocommit=True) as sql:
            sql.execute("CREATE TABLE kept (id int)")
            sql.execute("INSERT INTO kept VALUES (1)")
            database.kill()
            await _answers_again(database, sql)
        with psycopg.connect(database.urls.owner) as sql:
            assert sql.execute("SELECT id FROM kept").fetchall() == [(1,)]


async def _answers_again(database: Postgres, sql: psycopg.Connection) -> None:
    with pytest.raises(psycopg.OperationalError):
        sql.execute("SELECT pg_sleep(30)")
    await database.answers()
