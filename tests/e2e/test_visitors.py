"""Readers who do not sign in: every door is open to them, none lets them into another house, and their end is one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import websockets
from websockets.exceptions import ConnectionClosed

from syncserver.app import wiring
from syncserver.core import clock
from tests.anonymous import Visitor, bearer, begun
from tests.devices import Device, device
from tests.faults import launched
from tests.harness import Live, token

_PATIENCE_S = 30
_CREATIONS = 500


@pytest.fixture
async def anybody(live: Live) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who shows no token."""
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(base_url=f"{live.url}/api/v1", timeout=_PATIENCE_S, limits=limits) as client:
        yield client


@pytest.fixture
async def visitor(anybody: httpx.AsyncClient) -> Visitor:
    return await begun(anybody)


def mutation(key: str, percentage: float, **more: Any) -> dict[str, Any]:
    fields = {"resource": "progress", "key": key, "op": "put", "data": {"percentage": percentage}}
    return {"mutation_id": str(uuid4()), **fields, **more}


async def until(device: Device, kind: str) -> dict[str, Any]:
    while (frame := await device.hear())["type"] != kind:
        pass
    return frame


# -- every door --------------------------------------------------------------


async def test_a_visitor_reads_and_writes_over_http(anybody: httpx.AsyncClient, visitor: Visitor):
    ask: dict[str, Any] = {"headers": visitor.key}
    assert (await anybody.put("/progress/moby-dick", json={"percentage": 0.5}, **ask)).status_code == 200
    assert (await anybody.patch("/progress/moby-dick", json={"percentage": 0.6}, **ask)).status_code == 200
    assert (await anybody.get("/progress/moby-dick", **ask)).json()["percentage"] == 0.6
    assert [row["publication_id"] for row in (await anybody.get("/progress", **ask)).json()["items"]] == ["moby-dick"]
    body = {"device": {"id": "phone"}, "client_id": "phone", "mutations": [mutation("emma", 0.1)]}
    [ack] = (await anybody.post("/push", json=body, **ask)).json()["acks"]
    assert ack["status"] == "applied"
    changes = (await anybody.get("/changes", **ask)).json()
    assert {(row["resource"], row["key"]) for row in changes["rows"]} == {
        ("sessions", visitor.id),
        ("progress", "moby-dick"),
        ("progress", "emma"),
    }
    waiting = asyncio.create_task(anybody.get("/changes", params={"cursor": changes["cursor"], "wait": 20}, **ask))
    assert (await anybody.delete("/progress/emma", **ask)).status_code == 204
    assert [row["op"] for row in (await waiting).json()["rows"]] == ["remove"]
    verified = await anybody.post("/verify", json={"cursor": changes["cursor"], "digests": {}}, **ask)
    assert verified.json()["outcome"] == "moved"


async def test_a_visitor_restores_what_lost(anybody: httpx.AsyncClient, visitor: Visitor):
    ask: dict[str, Any] = {"headers": visitor.key}
    for device_id, percentage, day in (("phone", 0.5, 2), ("tablet", 0.1, 1)):
        body = {"percentage": percentage, "updated_at": f"2026-01-0{day}T00:00:00Z", "device_id": device_id}
        await anybody.put("/progress/moby-dick", json=body, **ask)
    [conflict] = (await anybody.get("/conflicts", **ask)).json()["items"]
    assert (await anybody.get(f"/conflicts/{conflict['id']}", **ask)).json() == conflict
    restored = await anybody.post(f"/conflicts/{conflict['id']}/restore", **ask)
    assert restored.json()["percentage"] == 0.1


async def test_a_visitor_hears_a_stream_by_ticket(anybody: httpx.AsyncClient, visitor: Visitor):
    ticket = (await anybody.post("/tickets", headers=visitor.key)).json()["ticket"]
    async with anybody.stream("GET", "/changes/stream", params={"ticket": ticket}) as events:
        assert events.status_code == 200
        async with asyncio.timeout(_PATIENCE_S):
            async for line in events.aiter_lines():
                if visitor.id in line:
                    break


async def test_a_visitor_s_devices_meet_on_sockets(live: Live, anybody: httpx.AsyncClient, visitor: Visitor):
    stranger = await begun(anybody)
    async with (
        device(live.socket_url, visitor.token, "phone") as phone,
        device(live.socket_url, visitor.token, "tablet") as tablet,
        device(live.socket_url, stranger.token, "phone") as other,
    ):
        for each in (phone, tablet, other):
            await each.say("subscribe", resources=None, cursor=None)
            ready = await until(each, "ready")
        await phone.say("push", mutations=[mutation("moby-dick", 0.5)])
        assert (await until(phone, "ack"))["acks"][0]["status"] == "applied"
        [row] = (await until(tablet, "changes"))["rows"]
        assert (row["key"], row["device_id"]) == ("moby-dick", "phone")
        await phone.say("presence", state={"reading": "moby-dick"})
        await tablet.say("presence", state={})
        while not [d for d in (await until(tablet, "presence"))["devices"] if d["state"]]:
            pass
        await phone.say("broadcast", topic="page", data={"turned": True})
        assert (await until(tablet, "broadcast"))["data"] == {"turned": True}
        await other.say("verify", cursor=ready["cursor"], digests={})
        heard = [await other.hear()]
        while heard[-1]["type"] != "verified":
            heard.append(await other.hear())
        assert {frame["type"] for frame in heard} <= {"verified", "ready"}, "nothing of another house"


async def test_readers_see_nothing_of_a_visitor(live: Live, anybody: httpx.AsyncClient, visitor: Visitor):
    await anybody.put("/progress/moby-dick", json={"percentage": 0.5}, headers=visitor.key)
    stranger = await begun(anybody)
    for headers in (live.headers("ada"), stranger.key, bearer(token(visitor.owner))):
        assert (await anybody.get("/progress", headers=headers)).json()["items"] == []
        assert (await anybody.get("/progress/moby-dick", headers=headers)).status_code == 404
        answer = await anybody.get("/changes", headers=headers)
        rows = answer.json()["rows"] if answer.content else []
        assert not [row for row in rows if visitor.id in str(row) or row["resource"] == "progress"]


# -- the end -----------------------------------------------------------------


async def closed(device: Device) -> int:
    """Wait for the close of its socket; the code."""
    with suppress(ConnectionClosed):
        while True:
            await device.hear()
    return device.socket.close_code or 0


async def test_the_sockets_of_a_deleted_session_are_closed(live: Live, anybody: httpx.AsyncClient, visitor: Visitor):
    stranger = await begun(anybody)
    async with (
        device(live.socket_url, visitor.token, "phone") as phone,
        device(live.socket_url, stranger.token, "phone") as other,
    ):
        await phone.say("subscribe", resources=None, cursor=None)
        await until(phone, "ready")
        assert (await anybody.delete(visitor.path, headers=visitor.key)).status_code == 204
        assert await closed(phone) == 4501
        assert await other.heard_no_more()
    async with websockets.connect(live.socket_url, subprotocols=[websockets.Subprotocol("syncserver.v1")]) as socket:
        again = Device(socket, "", "phone")
        stamp = clock.write(wiring.now())
        hello: dict[str, Any] = {"device": {"id": "phone"}, "client_id": "c", "sent_at": stamp, "protocol": [1, 1]}
        await again.say("hello", token=visitor.token, **hello)
        assert (await until(again, "error"))["code"] == "unauthorised"
        assert await closed(again) == 4501


async def test_direct_sql_ends_a_session_and_its_sockets(live: Live, visitor: Visitor, sql: psycopg.Connection):
    async with device(live.socket_url, visitor.token, "phone") as phone:
        await phone.say("subscribe", resources=None, cursor=None)
        await until(phone, "ready")
        sql.execute("DELETE FROM sessions")
        assert await closed(phone) == 4501


async def test_the_sockets_of_a_claimed_session_are_closed_and_its_reader_hears(
    live: Live, anybody: httpx.AsyncClient, visitor: Visitor
):
    await anybody.put("/progress/moby-dick", json={"percentage": 0.5}, headers=visitor.key)
    async with (
        device(live.socket_url, visitor.token, "phone") as phone,
        device(live.socket_url, token("ada"), "tablet") as tablet,
    ):
        for each in (phone, tablet):
            await each.say("subscribe", resources=["progress"], cursor=None)
            await until(each, "ready")
        claimed = await anybody.post(
            f"{visitor.path}/claim", json={"token": visitor.token}, headers=live.headers("ada")
        )
        assert claimed.status_code == 200
        assert [row["key"] for row in (await until(tablet, "changes"))["rows"]] == ["moby-dick"]
        assert await closed(phone) == 4501


# -- many at once ------------------------------------------------------------


@pytest.mark.long
async def test_five_hundred_at_once_get_sessions_of_their_own(
    live: Live, anybody: httpx.AsyncClient, sql: psycopg.Connection
):
    made = await asyncio.gather(*(begun(anybody) for _ in range(_CREATIONS)))
    assert len({one.id for one in made}) == len({one.token for one in made}) == _CREATIONS
    assert sql.execute("SELECT FROM sessions").rowcount == _CREATIONS
    assert sql.execute("SELECT FROM channels WHERE owner LIKE 'session:%'").rowcount == _CREATIONS

    states = sql.execute(
        "SELECT state FROM pg_stat_activity WHERE application_name = 'syncserver' AND datname = current_database()"
    ).fetchall()
    assert 0 < len(states) <= 10 + 4, "the pool's size, and those that read the log"
    assert not [state for (state,) in states if "transaction" in state]
    assert live.parts.database.in_use == 0


# -- without a database ------------------------------------------------------


async def test_without_a_database_it_says_when_to_ask_again_and_recovers_by_itself():
    with launched.postgres() as postgres:
        async with launched.zygote(postgres.urls.server, log_level="debug") as server:
            await server.start()
            base = f"http://127.0.0.1:{server.port}/api/v1"
            async with httpx.AsyncClient(base_url=base, timeout=_PATIENCE_S) as anybody:
                held, doomed = await begun(anybody), await begun(anybody)
                await asyncio.to_thread(postgres.stop)
                asked = await _asked(anybody, held, doomed)
                assert [answer.status_code for answer in asked] == [503] * len(asked), [a.text for a in asked]
                assert all(int(answer.headers["retry-after"]) >= 1 for answer in asked)
                assert {answer.json()["code"] for answer in asked} == {"unavailable"}

                await asyncio.to_thread(postgres.start)
                await postgres.answers()
                while (await anybody.post("/sessions")).status_code == 503:
                    pass
                asked = await _asked(anybody, held, doomed)
                assert [answer.status_code for answer in asked] == [201, 200, 204, 200, 204], [a.text for a in asked]
            logged = server.logged()
    assert "anonymous sessions could not be made" in logged
    for one in (held, doomed):
        assert one.id not in logged
        assert one.token not in logged
    assert "127.0.0.1" not in logged


async def _asked(anybody: httpx.AsyncClient, held: Visitor, doomed: Visitor) -> list[httpx.Response]:
    """The answer of every route."""
    ada = bearer(token("ada"))
    return [
        await anybody.post("/sessions"),
        await anybody.get(f"{doomed.path}/validate", headers=doomed.key),
        await anybody.put(f"{doomed.path}/touch", headers=doomed.key),
        await anybody.post(f"{held.path}/claim", json={"token": held.token}, headers=ada),
        await anybody.delete(doomed.path, headers=doomed.key),
    ]
