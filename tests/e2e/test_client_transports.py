"""The client's transports against the real server: down where one does not work, up again where one does."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import syncserver_client
from syncserver_client import Client, State

from tests.e2e.gate import Gate
from tests.harness import Live, Urls, token

_PATIENCE_S = 30
LADDER = [
    ("socket", State.LIVE),
    ("stream", State.STREAMING),
    ("long-poll", State.LONG_POLLING),
    ("poll", State.POLLING),
]


@pytest.fixture
async def gate(live: Live) -> AsyncIterator[Gate]:
    async with Gate(live.port).running() as running:
        yield running


def connect(url: str, device: str = "phone", **more: Any) -> Client:
    quick = {"poll_interval_s": 0.05, "backoff_first_s": 0.05, "backoff_most_s": 0.2, "hello_timeout_s": 2.0}
    return syncserver_client.connect(url, token("ada"), device, **{**quick, **more})


async def reached(client: Client, state: State) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        async for found in client.states():
            if found is state:
                return


async def holds(client: Client, key: str, percentage: float) -> None:
    async with asyncio.timeout(_PATIENCE_S), client.subscribe() as changes:
        async for change in changes:
            if change.key == key and not change.pending and change.value and change.value["percentage"] == percentage:
                return


@pytest.mark.parametrize(("transport", "state"), LADDER)
async def test_each_transport_alone_carries_changes_and_writes(live: Live, gate: Gate, transport: str, state: State):
    async with (
        connect(gate.url, transports=[transport], resources=["progress"]) as phone,
        connect(live.url, "tablet") as tablet,
    ):
        await reached(phone, state)
        await tablet.ready()
        await tablet.put("progress", "theirs", {"percentage": 0.1})
        await holds(phone, "theirs", 0.1)
        ack = await phone.put("progress", "mine", {"percentage": 0.2})
        await holds(tablet, "mine", 0.2)
        await holds(phone, "mine", 0.2)
        await tablet.remove("progress", "theirs")
        async with asyncio.timeout(_PATIENCE_S), phone.subscribe(initial=False) as changes:
            while ("progress", "theirs") in phone.rows:
                await anext(changes)
        assert await phone.verify()

    assert ack.status == "applied"
    assert gate.asked["push"] == (0 if transport == "socket" else 1)


@pytest.mark.parametrize("how", ["refused", "held"])
async def test_it_goes_down_the_whole_ladder_and_up_again(live: Live, gate: Gate, how: str):
    closed = getattr(gate, how)
    closed |= {"socket", "stream", "long-poll"}
    async with (
        connect(gate.url, retry_socket_s=0.3, hello_timeout_s=0.5) as phone,
        connect(live.url, "tablet") as tablet,
    ):
        await tablet.ready()
        for turn, (transport, state) in enumerate(reversed(LADDER)):
            closed.discard(transport)
            await reached(phone, state)
            await tablet.put("progress", f"book-{turn}", {"percentage": 0.5})
            await holds(phone, f"book-{turn}", 0.5)
            await phone.patch("progress", f"book-{turn}", {"percentage": 0.6})
            await holds(tablet, f"book-{turn}", 0.6)
            await holds(phone, f"book-{turn}", 0.6)
        assert phone.state is State.LIVE


async def test_a_changed_network_is_a_reason_to_look_up_at_once(gate: Gate):
    gate.refused |= {"socket", "stream"}
    async with connect(gate.url) as phone:
        await reached(phone, State.LONG_POLLING)
        gate.refused.clear()
        phone.network_changed()
        await reached(phone, State.LIVE)


async def test_a_changed_network_leaves_a_socket_that_answers(gate: Gate):
    async with connect(gate.url) as phone:
        await reached(phone, State.LIVE)
        socket = phone._core.link.socket
        assert socket is not None
        socket._pong.clear()
        phone.network_changed()
        async with asyncio.timeout(_PATIENCE_S):
            await socket._pong.wait()
        await phone.put("progress", "moby-dick", {"percentage": 0.5})
        assert phone.state is State.LIVE
        assert gate.asked["socket"] == 1


async def test_a_changed_network_finds_out_a_socket_that_is_dead(live: Live, gate: Gate, monkeypatch):
    monkeypatch.setattr("syncserver_client.socket.GRACE_S", 0.3)
    async with connect(gate.url) as phone, connect(live.url, "tablet") as tablet:
        await reached(phone, State.LIVE)
        gate.mute()
        await tablet.put("progress", "moby-dick", {"percentage": 0.5})
        phone.network_changed()
        await holds(phone, "moby-dick", 0.5)
        assert gate.asked["socket"] == 2


@pytest.mark.parametrize(("transport", "state"), LADDER)
async def test_what_is_cut_goes_on_from_its_cursor(live: Live, gate: Gate, transport: str, state: State):
    async with connect(gate.url, transports=[transport]) as phone, connect(live.url, "tablet") as tablet:
        await reached(phone, state)
        await tablet.ready()
        told = phone.subscribe(initial=False)
        for turn in range(5):
            gate.cut()
            await tablet.put("progress", f"book-{turn}", {"percentage": 0.5})
            await holds(phone, f"book-{turn}", 0.5)
        told.end()
        assert [change.offset async for change in told] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("transport", "_state"), LADDER)
async def test_a_difference_is_found_and_mended(live: Live, database: Urls, transport: str, _state: State):
    async with connect(live.url, transports=[transport]) as phone:
        await phone.ready()
        await phone.put("progress", "kept", {"percentage": 0.1})
        await phone.put("progress", "gone", {"percentage": 0.2})
        await holds(phone, "gone", 0.2)
        assert await phone.verify()
        async with phone.subscribe(initial=False) as changes, asyncio.timeout(_PATIENCE_S):
            with psycopg.connect(database.owner) as connection:  # what no trigger saw
                connection.execute("ALTER TABLE reading_progress DISABLE TRIGGER ALL")
                connection.execute("DELETE FROM reading_progress WHERE publication_id = 'gone'")
                connection.execute("DELETE FROM changes WHERE key = 'gone'")
                connection.execute("ALTER TABLE reading_progress ENABLE TRIGGER ALL")
            assert not await phone.verify()
            assert (await anext(changes)).op == "remove"
        assert await phone.verify()
        assert [key for _, key in phone.rows] == ["kept"]


async def test_devices_see_each_other_and_again_after_a_cut(live: Live, gate: Gate):
    async with connect(gate.url) as phone, connect(live.url, "tablet") as tablet, asyncio.timeout(_PATIENCE_S):
        await reached(phone, State.LIVE)
        await reached(tablet, State.LIVE)
        await phone.announce({"reading": "moby-dick"})
        await tablet.announce(None)
        seen = tablet.presences()
        async for here in seen:
            if [(there.device_id, there.state) for there in here] == [("phone", {"reading": "moby-dick"})]:
                break
        async for here in phone.presences():
            if [there.device_id for there in here] == ["tablet"]:
                break
        first = tablet.here[0].connection
        gate.cut()
        async for here in seen:
            if here and here[0].connection != first and len(here) == 1:
                break
        assert here[0].state == {"reading": "moby-dick"}


async def test_a_broadcast_reaches_who_is_live_and_needs_a_socket(live: Live):
    async with connect(live.url) as phone, connect(live.url, "tablet") as tablet, asyncio.timeout(_PATIENCE_S):
        await reached(phone, State.LIVE)
        await reached(tablet, State.LIVE)
        heard = tablet.broadcasts()
        await phone.broadcast("page", {"turned": 7})
        said = await anext(heard)
        assert (said.topic, said.value, said.device_id) == ("page", {"turned": 7}, "phone")
    async with connect(live.url, transports=["poll"]) as phone:
        await phone.ready()
        with pytest.raises(syncserver_client.Offline):
            await phone.broadcast("page", 1)


@pytest.mark.parametrize("transport", ["socket", "stream"])
async def test_who_loses_is_told_and_can_have_it_back(live: Live, transport: str):
    async with (
        connect(live.url, transports=[transport]) as phone,
        connect(live.url, "tablet") as tablet,
        asyncio.timeout(_PATIENCE_S),
    ):
        await phone.ready()
        await tablet.ready()
        notes = phone.conflicts()
        await phone.put("progress", "moby-dick", {"percentage": 0.9}, base=None)
        await tablet.put("progress", "moby-dick", {"percentage": 0.4}, base=None, policy="client-wins")
        note = await anext(notes)
        (listed,) = (await phone.list_conflicts("progress", "moby-dick")).items
        found = await phone.get_conflict(note.conflict_id)
        assert found == listed
        assert found.loser.fields is not None
        assert (found.loser.fields["percentage"], found.loser.device_id) == (0.9, "phone")
        row = await phone.restore(note.conflict_id)
        assert row is not None
        assert row.value is not None
        assert row.value["percentage"] == 0.9
        await holds(tablet, "moby-dick", 0.9)
        with pytest.raises(syncserver_client.Rejected, match="not_found"):
            await phone.get_conflict("00000000-0000-4000-8000-000000000000")
