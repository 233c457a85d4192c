"""Health on a real server: what is wrong is named, and it heals by itself."""

import asyncio
from time import monotonic

import httpx
import psycopg
import pytest

from syncserver.storage import schema
from tests.api.problems import problem
from tests.harness import Live, Urls

_PATIENCE_S = 30


async def until(http: httpx.AsyncClient, status: int, part: str) -> httpx.Response:
    """Ask until the server is ready (200), or is not because of this part (503)."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            answer = await http.get("/readyz")
            parts = answer.json().get("parts", {})
            if answer.status_code == status and (parts.get(part, {}).get("ok") is (status == 200)):
                return answer


@pytest.fixture
async def probe(live: Live):
    async with httpx.AsyncClient(base_url=live.url, timeout=_PATIENCE_S) as http:
        await until(http, 200, "listener")
        yield http


def cut(sql: psycopg.Connection, application: str) -> int:
    """End the connections of this name to the test's database; how many there were."""
    return sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name LIKE %s",
        [application],
    ).rowcount


def let_in(sql: psycopg.Connection, database: Urls, most: int) -> None:
    """How many new connections the database takes of the server's role; -1 for any number."""
    name = psycopg.conninfo.conninfo_to_dict(database.owner)["dbname"]
    sql.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT {most}')


async def test_a_server_that_is_about_to_stop_is_alive_and_not_ready(live: Live):
    async with httpx.AsyncClient(base_url=live.url) as http:
        assert (await http.get("/readyz")).status_code == 200
        await live.parts.house.drain(0, 0)
        problem(await http.get("/readyz"), 503, "unavailable")
        assert (await http.get("/healthz")).status_code == 200


async def test_every_part_is_named_and_the_doorbell_s_way_is_measured(probe: httpx.AsyncClient):
    asked_at = monotonic()
    answer = await probe.get("/readyz")
    took_s = monotonic() - asked_at
    parts = answer.json()["parts"]
    assert parts["database"] == {"ok": True}
    assert parts["migrations"] == {"ok": True, "at": schema.newest()}
    assert 0 < parts["listener"]["lag_s"] <= took_s


async def test_a_listener_that_was_cut_is_seen_and_heals(
    probe: httpx.AsyncClient, sql: psycopg.Connection, database: Urls
):
    let_in(sql, database, 0)
    assert cut(sql, "syncserver listener") == 1
    answer = await until(probe, 503, "listener")
    document = problem(answer, 503, "unavailable")
    assert "doorbell" in document["detail"]
    assert document["parts"]["database"] == {"ok": True}
    assert answer.headers["retry-after"] == "1"
    let_in(sql, database, -1)
    await until(probe, 200, "listener")


async def test_a_doorbell_that_is_rung_and_not_heard_is_seen(
    probe: httpx.AsyncClient, live: Live, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(live.parts.listener, "_rings", dict.fromkeys(live.parts.listener._rings, lambda _: None))
    document = problem(await until(probe, 503, "listener"), 503, "unavailable")
    assert "not heard" in document["detail"]
    monkeypatch.undo()
    await until(probe, 200, "listener")


async def test_a_database_that_is_away_is_seen_and_comes_back(
    probe: httpx.AsyncClient, sql: psycopg.Connection, database: Urls
):
    let_in(sql, database, 0)
    assert cut(sql, "syncserver%") > 1
    document = problem(await until(probe, 503, "database"), 503, "unavailable")
    assert "database" in document["detail"]
    assert (await probe.get("/healthz")).status_code == 200
    let_in(sql, database, -1)
    await until(probe, 200, "database")


async def test_a_database_that_takes_no_writes_is_seen(
    probe: httpx.AsyncClient, sql: psycopg.Connection, database: Urls
):
    name = psycopg.conninfo.conninfo_to_dict(database.owner)["dbname"]
    sql.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    cut(sql, "syncserver%")
    document = problem(await until(probe, 503, "database"), 503, "unavailable")
    assert "no writes" in document["detail"]
    sql.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    cut(sql, "syncserver%")
    await until(probe, 200, "database")


async def test_another_migration_than_the_server_s_is_seen(probe: httpx.AsyncClient, sql: psycopg.Connection):
    sql.execute("UPDATE alembic_version SET version_num = '0001'")
    document = problem(await probe.get("/readyz"), 503, "unavailable")
    assert schema.newest() in document["detail"]
    assert document["parts"]["migrations"]["at"] == "0001"
    assert document["parts"]["listener"]["ok"]
    sql.execute("ALTER TABLE alembic_version RENAME TO elsewhere")
    document = problem(await probe.get("/readyz"), 503, "unavailable")
    assert not document["parts"]["migrations"]["ok"]
    sql.execute("ALTER TABLE elsewhere RENAME TO alembic_version")
    sql.execute("UPDATE alembic_version SET version_num = %s", [schema.newest()])
    await until(probe, 200, "migrations")


@pytest.mark.usefixtures("probe")
async def test_many_who_ask_at_once_share_a_look(live: Live):
    before = live.parts.readiness._bell._rung
    parts = await asyncio.gather(*(live.parts.readiness.look() for _ in range(50)))
    assert all(part["listener"].ok for part in parts)
    assert live.parts.readiness._bell._rung == before + 1
