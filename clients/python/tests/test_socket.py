"""The live socket against a small real WebSocket server: hello, silence, closes, and the question whether it lives."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import pytest
from syncserver_client import socket as sockets
from syncserver_client.errors import Fatal, SocketLost
from syncserver_client.settings import Settings
from syncserver_client.socket import SUBPROTOCOL, LiveSocket
from syncserver_client.token import TokenSource
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

STAMP = "2026-01-01T00:00:00.000000Z"
WELCOME = {"type": "welcome", "server_time": STAMP, "heartbeat_s": 25, "limits": {"frame_bytes": 9000, "mutations": 7}}


@asynccontextmanager
async def serving(story):
    """A server that tells one story to each who comes; its settings."""

    async def tell(connection):
        hello = json.loads(await connection.recv())
        await story(connection, hello)

    async with serve(tell, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as server:
        port = server.sockets[0].getsockname()[1]
        yield Settings(url=f"http://127.0.0.1:{port}", device="phone", device_name="Ada's", hello_timeout_s=1.0)


async def say(connection, **frame):
    await connection.send(json.dumps(frame))


@pytest.fixture
def opened(clock):
    async def open_socket(settings):
        return await LiveSocket.open(settings, TokenSource("t"), clock)

    return open_socket


async def test_hello_names_the_device_and_welcome_tells_limits_and_drift(opened, clock):
    heard = {}

    async def story(connection, hello):
        heard.update(hello)
        await say(connection, **WELCOME, drift_s=-400.5)
        await connection.wait_closed()

    async with serving(story) as settings:
        socket = await opened(settings)
        assert (heard["token"], heard["device"]) == ("t", {"id": "phone", "name": "Ada's"})
        assert (socket.limits.frame_bytes, socket.limits.mutations, socket.drift_s) == (9000, 7, -400.5)
        assert clock.known
        await socket.close()


async def test_a_server_that_says_nothing_is_given_up(opened):
    async def story(connection, _hello):
        await connection.wait_closed()

    async with serving(story) as settings:
        with pytest.raises(SocketLost, match="silent"):
            await opened(settings)


@pytest.mark.parametrize(("code", "kind"), [(4501, Fatal), (1013, SocketLost), (4003, SocketLost)])
async def test_a_close_in_place_of_a_welcome_says_why(opened, code, kind):
    async def story(connection, _hello):
        await say(connection, type="error", code="why", detail="d", retry_after_s=3)
        await connection.close(code)

    async with serving(story) as settings:
        with pytest.raises(kind) as lost:
            await opened(settings)
        assert lost.value.detail == "why"
        assert kind is Fatal or lost.value.retry_after_s == 3


async def test_a_port_where_nobody_listens_is_unreachable(opened):
    async with serving(None) as settings:
        pass
    with pytest.raises(SocketLost, match="unreachable"):
        await opened(settings)


async def test_silence_is_asked_about_and_then_ends_it(opened, monkeypatch):
    monkeypatch.setattr(sockets, "GRACE_S", 0.05)
    asked = []

    async def story(connection, _hello):
        await say(connection, **{**WELCOME, "heartbeat_s": 0.05})
        with suppress(ConnectionClosed):
            while True:
                asked.append(json.loads(await connection.recv())["type"])

    async with serving(story) as settings:
        socket = await opened(settings)
        with pytest.raises(SocketLost, match="silent"):
            await socket.receive()
        socket.abort()
    assert asked[:2] == ["ping", "ping"]


async def test_a_check_that_is_answered_leaves_the_socket_and_one_that_is_not_ends_it(opened, monkeypatch):
    monkeypatch.setattr(sockets, "GRACE_S", 0.2)
    answering = True

    async def story(connection, _hello):
        await say(connection, **WELCOME)
        async for frame in connection:
            if answering:
                await say(connection, type="pong", sent_at=json.loads(frame)["sent_at"], server_time=STAMP)
            else:
                await say(connection, type="ready", cursor="c", server_time=STAMP)  # alive, but no answer

    async with serving(story) as settings:
        socket = await opened(settings)
        check = asyncio.create_task(socket.check())
        assert (await socket.receive())["type"] == "pong"
        await check
        answering = False
        check = asyncio.create_task(socket.check())
        assert (await socket.receive())["type"] == "ready"
        with pytest.raises(SocketLost):
            await socket.receive()
        await check


async def test_a_cut_without_a_word_is_a_cut(opened):
    async def story(connection, _hello):
        await say(connection, **WELCOME)
        connection.transport.abort()

    async with serving(story) as settings:
        socket = await opened(settings)
        with pytest.raises(SocketLost, match="cut"):
            await socket.receive()
        with pytest.raises(SocketLost):
            await socket.send(b"{}")
