"""Presence, broadcasts and conflict notes between real sockets, of one server process and of two over one database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import websockets

from syncserver.core import clock
from syncserver.engine import presence
from syncserver.engine.ephemera import Ephemera
from syncserver.storage import notes
from syncserver.storage.database import Database
from syncserver.storage.notes import Note
from tests import devices
from tests.devices import Device
from tests.harness import Live, Serving, token

ADA = "user:ada"


def device(live: Live, name: str, user: str = "ada") -> AbstractAsyncContextManager[Device]:
    return devices.device(live.socket_url, token(user), name)


@pytest.fixture(params=["one process", "two processes"])
async def servers(request: pytest.FixtureRequest, serving: Serving) -> AsyncIterator[tuple[Live, Live]]:
    """Where the one device is connected, and where the other."""
    async with contextlib.AsyncExitStack() as stack:
        one = await stack.enter_async_context(serving(frames_per_s=0))
        two = await stack.enter_async_context(serving(frames_per_s=0)) if request.param == "two processes" else one
        yield one, two


@pytest.fixture
async def pair(servers: tuple[Live, Live]) -> AsyncIterator[tuple[Device, Device]]:
    async with device(servers[0], "phone") as phone, device(servers[1], "tablet") as tablet:
        yield phone, tablet


async def eventually(true: Callable[[], bool]) -> None:
    """Wait for something that nobody is told of."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - it happens after the last thing that anybody hears
            await asyncio.sleep(0.01)


def kept(ephemera: Ephemera) -> dict[str, Any]:
    """All that a process holds in memory for somebody's presence and notes."""
    shared, passed = ephemera._presence, ephemera._notes
    held = {**vars(shared._roll), **vars(shared), **vars(passed)}
    return {name: value for name, value in held.items() if isinstance(value, dict | set | list) or name == "_queue"}


# -- presence ----------------------------------------------------------------


async def test_who_is_alone_is_told_so(live: Live):
    async with device(live, "phone") as phone:
        await phone.say("presence", state=None)
        assert await phone.others() == []


async def test_who_comes_is_told_of_those_who_are_here_and_they_of_it(pair: tuple[Device, Device]):
    phone, tablet = pair
    await phone.say("presence", state={"page": 7})
    assert await phone.others() == []
    await tablet.say("presence", state={"page": 9, "nothing": None})
    [seen] = await tablet.others()
    assert {k: v for k, v in seen.items() if k not in {"since", "seen_at"}} == {
        "connection": phone.id,
        "device_id": "phone",
        "device_name": "my phone",
        "app": "reader",
        "state": {"page": 7},
    }
    assert clock.read(seen["since"]) <= clock.read(seen["seen_at"])
    [seen] = await phone.others()
    assert (seen["connection"], seen["state"]) == (tablet.id, {"page": 9, "nothing": None})


async def test_a_new_state_is_told_to_the_others_and_since_when_stays(pair: tuple[Device, Device]):
    phone, tablet = pair
    await phone.say("presence", state=None)
    await phone.others()
    await tablet.say("presence", state=None)
    [before] = await tablet.others()
    await phone.told_of(("tablet", None))
    await phone.say("presence", state={"odd": '\0 "naïve" \\'})
    [after] = await tablet.others()
    assert (after["state"], after["since"]) == ({"odd": '\0 "naïve" \\'}, before["since"])
    assert await phone.heard_no_more()


async def test_who_leaves_is_gone_for_the_others_at_once(servers: tuple[Live, Live]):
    async with device(servers[0], "phone") as phone:
        await phone.say("presence", state=None)
        for leave in ("close", "abort"):
            async with device(servers[1], "tablet") as tablet:
                await tablet.say("presence", state=None)
                await phone.told_of(("tablet", None))
                if leave == "abort":
                    tablet.socket.transport.abort()
            await phone.told_of()


async def test_who_only_listens_is_not_here_and_is_told_nothing(pair: tuple[Device, Device]):
    phone, tablet = pair
    await phone.say("presence", state=None)
    assert await phone.others() == []
    await tablet.say("broadcast", topic="hello")
    assert (await phone.hear())["type"] == "broadcast"
    assert await tablet.heard_no_more()


async def test_of_many_states_the_last_one_is_told_and_not_each(pair: tuple[Device, Device]):
    phone, tablet = pair
    await tablet.say("presence", state=None)
    for page in range(500):
        await phone.say("presence", state={"page": page})
    heard = 0
    while [d["state"] for d in await tablet.others()] != [{"page": 499}]:
        heard += 1
    assert heard < 250


async def test_another_reader_is_told_nothing(servers: tuple[Live, Live]):
    async with device(servers[0], "phone") as ada, device(servers[1], "phone", "ben") as ben:
        for each in (ada, ben):
            await each.say("presence", state={"secret": 1})
            assert await each.others() == []
        async with device(servers[0], "tablet") as tablet:
            await tablet.say("presence", state=None)
            await ada.told_of(("tablet", None))
            await tablet.say("broadcast", topic="secret", data="ada's")
            assert (await ada.hear())["data"] == "ada's"
        await ada.told_of()
        assert await ben.heard_no_more()


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "presence", "state": {"s": "x" * 4096}},
        {"type": "presence", "state": [1]},
        {"type": "broadcast", "topic": "t", "data": "x" * 16_384},
        {"type": "broadcast", "topic": ""},
        {"type": "broadcast", "topic": "t" * 129},
        {"type": "broadcast", "data": 1},
    ],
)
async def test_what_is_over_its_limits_closes_and_reaches_nobody(live: Live, frame: dict[str, Any]):
    async with device(live, "phone") as phone, device(live, "tablet") as tablet:
        await phone.say(**{"kind" if k == "type" else k: v for k, v in frame.items()})
        assert (await phone.hear())["code"] == "malformed"
        with pytest.raises(websockets.ConnectionClosed):
            await phone.hear()
        assert phone.socket.close_code == 4500
        assert await tablet.heard_no_more()


async def test_a_server_that_stops_takes_its_devices_along_at_once(
    serving: Serving, sql: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    async with serving() as stays, device(stays, "tablet") as tablet:
        await tablet.say("presence", state=None)
        assert await tablet.others() == []
        monkeypatch.setattr(presence, "_PAUSE_S", 60)  # its next write would come too late
        async with serving() as stops, device(stops, "phone") as phone:
            await phone.say("presence", state=None)
            await tablet.told_of(("phone", None))
        assert sql.execute("SELECT device_id FROM presences").fetchall() == [("tablet",)]
        await tablet.told_of()


async def test_what_the_database_forgot_in_a_crash_is_written_again(serving: Serving, sql: psycopg.Connection):
    """After a crash unlogged tables are empty and connections gone. The next sign of life would be minutes off."""
    async with serving(presence_s=900.0) as one, serving(presence_s=900.0) as two, device(one, "phone") as phone:
        await phone.say("presence", state={"page": 7})
        assert await phone.others() == []
        sql.execute("TRUNCATE presences, processes, notes")
        sql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        async with device(two, "tablet") as tablet:
            await tablet.say("presence", state=None)
            await tablet.told_of(("phone", {"page": 7}))
            await phone.told_of(("tablet", None))


async def test_a_process_that_falls_silent_is_gone_with_its_devices(serving: Serving):
    """Its loop stands still (here: its tasks are ended), so it gives no sign of life."""
    async with contextlib.AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(serving(presence_s=1.0)) for _ in range(2)]
        phone, tablet = [await stack.enter_async_context(device(*d)) for d in ((one, "phone"), (two, "tablet"))]
        await tablet.say("presence", state=None)
        await phone.say("presence", state=None)
        await tablet.told_of(("phone", None))
        [run] = [t for t in asyncio.all_tasks() if t.get_name() == "ephemera" and of(t) is one.parts.ephemera]
        run.cancel()
        await tablet.told_of()


def of(task: asyncio.Task[Any]) -> Any:
    """Whose `run` this task is."""
    return task.get_coro().cr_frame.f_locals["work"].__self__  # type: ignore[union-attr]  # a coroutine, see wiring


# -- broadcasts --------------------------------------------------------------


async def test_a_broadcast_reaches_every_other_socket_of_the_reader_and_not_its_own(servers: tuple[Live, Live]):
    one, two = servers
    async with device(one, "phone") as phone, device(two, "tablet") as tablet, device(one, "phone") as again:
        before = clock.write(one.parts.house.now())
        await phone.say("broadcast", topic="page", data={"to": [7, None, "\0"]})
        for other in (tablet, again):
            heard = await other.hear()
            assert before <= heard.pop("sent_at") <= clock.write(one.parts.house.now())
            assert heard == {
                "type": "broadcast",
                "topic": "page",
                "data": {"to": [7, None, "\0"]},
                "connection": phone.id,
                "device_id": "phone",
            }
        assert await phone.heard_no_more()


async def test_broadcasts_of_one_connection_are_heard_in_their_order(pair: tuple[Device, Device]):
    phone, tablet = pair

    async def send(one: Device) -> None:
        for number in range(200):
            await one.say("broadcast", topic="count", data=number)

    async def heard(one: Device) -> list[int]:
        return [(await one.hear())["data"] for _ in range(200)]

    *_, by_phone, by_tablet = await asyncio.gather(send(phone), send(tablet), heard(phone), heard(tablet))
    assert by_phone == by_tablet == list(range(200))


async def test_a_broadcast_is_never_in_the_log(pair: tuple[Device, Device], sql: psycopg.Connection):
    phone, tablet = pair
    await phone.say("broadcast", topic="page", data=1)
    await tablet.hear()
    assert sql.execute("SELECT count(*) FROM changes").fetchone() == (0,)


async def test_without_the_database_a_broadcast_is_an_error_and_the_connection_stays(live: Live):
    async with device(live, "phone") as phone, device(live, "tablet") as tablet:
        lane = live.parts.ephemera._notes._lane
        lane._database = Database("postgresql://127.0.0.1:1/none")
        await phone.say("broadcast", topic="page", data=1)
        error = await phone.hear()
        assert (error["type"], error["code"]) == ("error", "unavailable")
        assert error["retry_after_s"] > 0
        lane._database = live.parts.database
        await phone.say("broadcast", topic="page", data=2)
        assert (await tablet.hear())["data"] == 2


@pytest.mark.parametrize(
    "payload", ["", "presence", "presence ", "x user:ada", "7", "99 user:ada", f"{'9' * 30} user:ada", "² user:ada"]
)
async def test_a_doorbell_that_says_nonsense_harms_nobody(live: Live, sql: psycopg.Connection, payload: str):
    async with device(live, "phone") as phone, device(live, "tablet") as tablet:
        sql.execute("SELECT pg_notify('syncserver_notes', %s)", [payload])
        await phone.say("broadcast", topic="page", data=1)
        assert (await tablet.hear())["data"] == 1


async def test_a_doorbell_that_names_another_reader_shows_that_one_nothing(live: Live, sql: psycopg.Connection):
    async with device(live, "phone", "ben") as ben, device(live, "tablet", "ben") as other:
        async with live.parts.database.transaction([ADA]) as connection:
            await notes.post(connection, [Note(ADA, "broadcast", '{"type":"broadcast","data":"ada\'s"}')])
        [(number,)] = sql.execute("SELECT id FROM notes").fetchall()
        sql.execute("SELECT pg_notify('syncserver_notes', %s)", [f"{number} user:ben"])
        await ben.say("broadcast", topic="own", data="ben's")
        assert (await other.hear())["data"] == "ben's"


# -- conflicts ---------------------------------------------------------------


async def test_a_conflict_note_reaches_every_socket_of_its_device_and_no_other(servers: tuple[Live, Live]):
    one, two = servers
    async with device(one, "phone") as phone, device(two, "phone") as again, device(two, "tablet") as tablet:
        async with one.parts.database.transaction([ADA]) as connection:
            await notes.post(connection, [Note(ADA, "conflict", '{"type":"conflict","key":"moby"}', None, "phone")])
        for loser in (phone, again):
            assert await loser.hear() == {"type": "conflict", "key": "moby"}
        assert await tablet.heard_no_more()


async def test_a_version_that_lost_is_told_to_its_device_wherever_that_is(servers: tuple[Live, Live]):
    one, two = servers
    async with device(one, "phone") as phone, device(two, "phone") as again, device(two, "tablet") as tablet:
        mutation = {"resource": "progress", "key": "moby", "op": "put"}
        for writer, page, minute in ((tablet, 0.9, 30), (phone, 0.1, 15)):
            stamp = f"2026-03-01T08:{minute}:00.000000Z"
            proposed = {**mutation, "mutation_id": str(uuid4()), "data": {"percentage": page}, "updated_at": stamp}
            await writer.say("push", mutations=[proposed])
            if writer is tablet:
                assert (await tablet.hear())["acks"][0]["status"] == "applied"
        heard = {frame["type"]: frame for frame in [await phone.hear(), await phone.hear()]}
        [ack] = heard["ack"]["acks"]
        assert ack["status"] == "superseded"
        note = await again.hear()
        assert note == heard["conflict"]
        assert (note["conflict_id"], note["resource"], note["key"]) == (ack["conflict_id"], "progress", "moby")
        assert await tablet.heard_no_more()


# -- what stays --------------------------------------------------------------


async def test_nothing_stays_in_memory_or_in_the_database_of_who_left(
    servers: tuple[Live, Live], sql: psycopg.Connection
):
    one, two = servers
    async with device(one, "phone") as phone, device(two, "tablet") as tablet, device(two, "phone", "ben") as ben:
        for each in (phone, tablet, ben):
            await each.say("presence", state={"page": 7})
            await each.others()
        await phone.say("broadcast", topic="page")
        while (await tablet.hear())["type"] != "broadcast":
            pass
        assert any(kept(one.parts.ephemera).values())
    for live in servers:
        await eventually(lambda live=live: not any(kept(live.parts.ephemera).values()))  # type: ignore[misc]
        assert len(kept(live.parts.ephemera)) >= 6
        assert len(live.parts.house) == 0
    assert sql.execute("SELECT count(*) FROM presences").fetchone() == (0,)
