"""The Python client against the real server, over a network that misbehaves."""

import asyncio
import gc
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import syncserver_client
from syncserver_client import Client, State

from tests.faults.proxy import Proxy
from tests.harness import Live, Urls, token

_PATIENCE_S = 20


@pytest.fixture
async def proxy(live: Live) -> AsyncIterator[Proxy]:
    async with Proxy(live.port).running() as running:
        yield running


def connect(url: str, device: str = "phone", **more: Any) -> Client:
    return syncserver_client.connect(url, token("ada"), device, poll_interval_s=0.05, backoff_most_s=0.2, **more)


async def reached(client: Client, state: State) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        async for found in client.states():
            if found is state:
                return


async def holds(client: Client, key: str, percentage: float) -> None:
    async with asyncio.timeout(_PATIENCE_S), client.subscribe() as changes:
        async for change in changes:
            if change.key != key or not change.value or change.pending:
                continue
            if change.value["percentage"] == percentage:
                return


async def test_where_sockets_are_blocked_it_polls_and_comes_back_to_the_socket(live: Live, proxy: Proxy):
    proxy.refuse_sockets = True
    only = ("socket", "poll")
    async with connect(proxy.url, transports=only, retry_socket_s=0.3) as phone, connect(live.url, "tablet") as tablet:
        await reached(phone, State.POLLING)
        await tablet.put("progress", "moby-dick", {"percentage": 0.1})
        await holds(phone, "moby-dick", 0.1)
        ack = await phone.patch("progress", "moby-dick", {"percentage": 0.2})
        await holds(tablet, "moby-dick", 0.2)

        proxy.refuse_sockets = False
        await reached(phone, State.LIVE)
        await tablet.patch("progress", "moby-dick", {"percentage": 0.3})
        await holds(phone, "moby-dick", 0.3)

    assert ack.status == "applied"


async def test_after_a_cut_it_resumes_from_its_cursor_and_holds_the_right_state(live: Live, proxy: Proxy):
    async with connect(proxy.url) as phone, connect(live.url, "tablet") as tablet:
        await phone.ready()
        for turn in range(1, 6):
            await tablet.put("progress", f"book-{turn}", {"percentage": turn / 10})
            proxy.cut()
            await holds(phone, f"book-{turn}", turn / 10)
        async with asyncio.timeout(_PATIENCE_S), phone.subscribe() as changes:
            await tablet.remove("progress", "book-1")
            async for change in changes:
                if change.op == "remove":
                    break
        async with connect(live.url, "e-reader") as fresh:
            await fresh.ready()
            assert dict(fresh.rows) == dict(phone.rows)


async def test_a_write_whose_answer_is_lost_is_sent_again_and_applied_once(proxy: Proxy, database: Urls):
    async with connect(proxy.url) as phone:
        await phone.ready()
        proxy.swallow_answers = True
        writing = asyncio.create_task(phone.put("progress", "moby-dick", {"percentage": 0.5}))
        async with asyncio.timeout(_PATIENCE_S):
            await proxy.swallowed.wait()
        proxy.swallow_answers = False
        proxy.cut()
        ack = await writing

    assert (ack.status, ack.offset) == ("duplicate", 1)
    with psycopg.connect(database.owner) as connection:
        assert connection.execute("SELECT head FROM channels").fetchall() == [(1,)]


async def test_what_was_written_offline_arrives_in_the_order_in_which_it_was_written(proxy: Proxy, live: Live):
    async with connect(proxy.url) as phone, connect(live.url, "tablet") as tablet:
        await phone.ready()
        await tablet.ready()
        proxy.down = True
        proxy.cut()
        await reached(phone, State.OFFLINE)
        writing = [asyncio.create_task(phone.put("progress", "moby-dick", {"percentage": 0.0}))]
        for turn in range(1, 10):
            await asyncio.sleep(0)
            writing.append(asyncio.create_task(phone.patch("progress", "moby-dick", {"percentage": turn / 10})))
        proxy.down = False
        acks = await asyncio.gather(*writing)
        await holds(tablet, "moby-dick", 0.9)

    assert [(ack.status, ack.offset) for ack in acks] == [("applied", n) for n in range(1, 11)]


async def test_a_new_epoch_is_fetched_again_and_only_differences_are_shown(live: Live, database: Urls):
    async with connect(live.url) as phone:
        await phone.ready()
        await phone.put("progress", "kept", {"percentage": 0.1})
        await phone.put("progress", "gone", {"percentage": 0.2})
        await holds(phone, "gone", 0.2)
        async with phone.subscribe(initial=False) as changes, asyncio.timeout(_PATIENCE_S):
            with psycopg.connect(database.owner) as connection:  # what a restored backup looks like
                connection.execute("ALTER TABLE reading_progress DISABLE TRIGGER ALL")
                connection.execute("DELETE FROM reading_progress WHERE publication_id = 'gone'")
                connection.execute("DELETE FROM changes WHERE key = 'gone'")
                connection.execute("UPDATE channels SET head = 1")
                connection.execute("UPDATE epoch SET id = 'restored'")
                connection.execute("ALTER TABLE reading_progress ENABLE TRIGGER ALL")
            change = await anext(changes)

        assert (change.op, change.key) == ("remove", "gone")
        assert [key for _, key in phone.rows] == ["kept"]


async def test_a_token_that_is_none_stops_it_for_good(live: Live):
    async with syncserver_client.connect(live.url, "no token", "phone") as phone:
        with pytest.raises(syncserver_client.Fatal):
            await phone.ready()


async def test_a_rejected_write_says_why(live: Live):
    async with connect(live.url) as phone:
        with pytest.raises(syncserver_client.Rejected) as rejected:
            await phone.put("progress", "moby-dick", {"percentage": 1.2})
        assert rejected.value.code == "invalid"
        assert await phone.get("progress", "moby-dick") is None


async def test_two_devices_that_did_not_hear_of_each_other_agree_on_the_newer_write(live: Live):
    async with connect(live.url) as phone, connect(live.url, "tablet") as tablet:
        await phone.ready()
        await tablet.ready()
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        newer = await phone.put("progress", "moby-dick", {"percentage": 0.9}, base=None)
        older = await tablet.put("progress", "moby-dick", {"percentage": 0.4}, base=None, updated_at=long_ago)
        await holds(tablet, "moby-dick", 0.9)

    assert (newer.status, older.status) == ("applied", "superseded")
    assert older.conflict_id
    assert older.row
    assert older.row.value
    assert older.row.value["percentage"] == 0.9


async def test_a_thousand_subscriptions_leave_nothing_behind(live: Live):
    async with connect(live.url) as phone:
        await phone.ready()
        await phone.put("progress", "moby-dick", {"percentage": 0.5})
        await holds(phone, "moby-dick", 0.5)

        async def cycle() -> None:
            async with phone.subscribe() as changes:
                await anext(changes)

        for _ in range(50):
            await cycle()
        gc.collect()
        tasks, objects = len(asyncio.all_tasks()), len(gc.get_objects())
        for _ in range(1000):
            await cycle()
        gc.collect()

        assert len(asyncio.all_tasks()) == tasks
        assert len(gc.get_objects()) - objects < 200


async def test_two_hundred_connections_leave_nothing_in_the_server(live: Live):
    async with connect(live.url) as phone:
        await phone.ready()
        gc.collect()
        tasks = len(asyncio.all_tasks())
        for _ in range(20):
            await asyncio.gather(*(_come_and_go(live, f"device-{n}") for n in range(10)))
        async with asyncio.timeout(_PATIENCE_S):
            while len(asyncio.all_tasks()) > tasks or len(live.parts.house) > 1:  # noqa: ASYNC110 - turns, not time
                await asyncio.sleep(0)

        assert len(live.parts.house) == 1
        assert len(live.parts.hub) == 1


async def _come_and_go(live: Live, device: str) -> None:
    async with connect(live.url, device) as client:
        await client.ready()
