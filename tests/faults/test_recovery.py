"""Normal days: a dead doorbell, a killed PostgreSQL, a killed server. Clients recover and hold the right state."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import psycopg
import syncserver_client
from syncserver_client import Client

from tests.harness import Live, Program, Urls, token

_PATIENCE_S = 30


async def shown(client: Client, key: str, percentage: float) -> None:
    """Wait until the client holds this; it is told of every change, so this waits for news and not for time."""
    async with asyncio.timeout(_PATIENCE_S), client.subscribe(["progress"]) as changes:
        async for change in changes:
            if change.key == key and change.value is not None and change.value["percentage"] == percentage:
                return


in_thread = asyncio.to_thread


def terminate(owner_url: str, application: str) -> int:
    """End the database connections of this name; how many there were."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        return connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = current_database()",
            [application],
        ).rowcount


async def test_the_doorbell_comes_back_when_its_connection_is_killed(live: Live, database: Urls):
    async with syncserver_client.connect(live.url, token("ada"), device="phone") as phone:
        await phone.ready()
        heard = asyncio.Event()
        live.parts.listener._listening = heard.set

        assert await in_thread(lambda: terminate(database.owner, "syncserver listener")) == 1
        async with asyncio.timeout(_PATIENCE_S):
            await heard.wait()
        await phone.put("progress", "moby-dick", {"percentage": 0.5})

        await shown(phone, "moby-dick", 0.5)


async def test_a_change_whose_doorbell_is_lost_is_found_by_the_sweep(live: Live):
    live.parts.listener._rings = dict.fromkeys(live.parts.listener._rings, lambda _owner: None)
    async with syncserver_client.connect(live.url, token("ada"), device="phone") as phone:
        await phone.ready()
        await phone.put("progress", "moby-dick", {"percentage": 0.5})

        await shown(phone, "moby-dick", 0.5)


async def test_the_server_serves_on_when_all_its_database_connections_are_killed(live: Live, database: Urls):
    async with syncserver_client.connect(live.url, token("ada"), device="phone") as phone:
        await phone.ready()
        await phone.put("progress", "moby-dick", {"percentage": 0.1})

        assert await in_thread(lambda: terminate(database.owner, "syncserver")) > 0
        await phone.put("progress", "moby-dick", {"percentage": 0.2})

        await shown(phone, "moby-dick", 0.2)


async def _through(program: Program, calamity: Callable[[], Awaitable[None]]) -> None:
    """Two devices, a write before and one after: all is there, where one listened and where one comes new."""
    tokens = await in_thread(lambda: program.token("ada"))
    async with (
        syncserver_client.connect(program.url, tokens, device="phone", backoff_most_s=0.5) as phone,
        syncserver_client.connect(program.url, tokens, device="tablet", backoff_most_s=0.5) as tablet,
    ):
        await phone.ready()
        await tablet.put("progress", "before", {"percentage": 0.1})
        await shown(phone, "before", 0.1)

        await calamity()
        ack = await tablet.put("progress", "after", {"percentage": 0.2})
        await shown(phone, "after", 0.2)

        async with syncserver_client.connect(program.url, tokens, device="e-reader") as fresh:
            await fresh.ready()
            assert dict(fresh.rows) == dict(phone.rows)
            assert {key for _, key in fresh.rows} == {"before", "after"}
            assert fresh.rows["progress", "after"].offset == ack.offset


async def test_clients_recover_when_postgresql_is_killed_and_comes_back(program: Program):
    await in_thread(program.start)

    async def kill_postgresql() -> None:
        os.kill(program.postmaster(), signal.SIGKILL)

    await _through(program, kill_postgresql)


async def test_clients_recover_when_the_server_is_killed_and_started_again(program: Program):
    await in_thread(program.start)

    async def kill_server() -> None:
        await in_thread(lambda: program.end(signal.SIGKILL))
        await in_thread(program.start)

    await _through(program, kill_server)


async def test_clients_are_told_goodbye_and_come_back_after_a_restart(program: Program):
    await in_thread(program.start)

    async def restart() -> None:
        assert await in_thread(program.end) == 0
        await in_thread(program.start)

    await _through(program, restart)
