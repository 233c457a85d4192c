"""What comes in on one port goes where it belongs, in whatever pieces it comes."""

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import orjson
import pytest

from tests.harness import Live, Serving, token
from tests.transports.rfc6455.line import CLOSE, PING, PONG, REQUEST, closing, framed, read
from tests.transports.sockets import HELLO
from tests.transports.stalled import Peer, peer

_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def one_by_one(client: Peer, data: bytes) -> None:
    """A byte at a time, and as far as may be each in a packet of its own."""
    client.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(len(data)):
        await client.send(data[at : at + 1])
        await asyncio.sleep(0)


def hello(user: str = "ada", **more: Any) -> bytes:
    return framed(1, orjson.dumps({**HELLO, "client_id": str(uuid4()), "token": token(user), **more}))


async def answer(client: Peer) -> bytes:
    """The head of what is answered, and nothing behind it."""
    found = b""
    async with asyncio.timeout(20):
        while not found.endswith(b"\r\n\r\n"):
            found += await client.read(1)
    return found


async def test_a_socket_may_come_byte_by_byte(live: Live):
    async with peer(live.port) as client:
        await one_by_one(client, REQUEST + framed(PING, b"here"))
        assert (await answer(client)).startswith(b"HTTP/1.1 101 ")
        await client.send(closing())
        assert (PONG, b"here") in read(await client.rest())


_HTTP = {
    b"GET /healthz": 200,
    b"GET /": 404,
    b"GET /api/v1/changes?limit=1": 401,
    b"GET /api/v1/socketX": 404,
    b"GET /api/v1/sock": 404,
    b"POST /api/v1/socket": 404,
    b"GET /api/v1/socket": 426,
    b"GET /api/v1/socket?x=1": 426,
}


async def test_all_else_is_http_in_whatever_pieces_it_comes(live: Live):
    for request_line, status in _HTTP.items():
        sent = request_line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        async with peer(live.port) as whole, peer(live.port) as slow:
            await whole.send(sent)
            await one_by_one(slow, sent)
            for client in (whole, slow):
                assert (await client.rest()).startswith(f"HTTP/1.1 {status} ".encode()), request_line


_NEITHER = (
    b"\r\n\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"G\r\n\r\n",
    b"GET /api/v1/socket\r\n\r\n",
    b"GET /api/v1/socket ",
)


async def test_what_is_neither_is_refused_and_the_line_ends(live: Live):
    for noise in _NEITHER:
        async with peer(live.port) as client:
            await client.send(noise + b"\r\n\r\n")
            assert (await client.rest()).startswith(b"HTTP/1.1 400 "), noise


async def test_frames_that_come_with_the_head_are_heard(live: Live):
    async with peer(live.port) as client:
        await client.send(REQUEST + hello() + framed(1, b'{"type":"ping"}'))
        await client.heard(b'"type":"pong"')


async def test_a_head_that_is_too_long_is_refused(live: Live):
    async with peer(live.port) as client:
        await client.send(REQUEST[:-2] + b"X: " + b"x" * 65_536)
        assert (await client.rest()).startswith(b"HTTP/1.1 4")


async def test_a_socket_may_come_on_a_line_of_http(live: Live):
    async with peer(live.port) as client:
        for _ in range(2):
            await client.send(_HEALTH)
            assert (await answer(client)).startswith(b"HTTP/1.1 200 ")
            await client.heard(b'"ok"}')
        await client.send(REQUEST)
        assert (await answer(client)).startswith(b"HTTP/1.1 101 ")
        await client.send(hello())
        await client.heard(b'"welcome"')
        assert len(live.parts.house) == 1


async def test_there_is_no_socket_at_another_path(live: Live):
    elsewhere = REQUEST.replace(b"/api/v1/socket", b"/api/v2/socket")
    async with peer(live.port) as first, peer(live.port) as later:
        await first.send(elsewhere)
        await later.send(_HEALTH)
        await later.heard(b'"ok"}')
        await later.send(elsewhere)
        for client in (first, later):
            assert (await client.rest()).startswith(b"HTTP/1.1 404 ")


async def test_lines_that_ask_nothing_are_ended_with_the_server(serving: Serving):
    async with AsyncExitStack() as lines:
        async with serving(handshake_s=0) as live:
            silent, begun, client = [await lines.enter_async_context(peer(live.port)) for _ in range(3)]
            await begun.send(REQUEST[:10])
            await client.send(_HEALTH)
            await client.heard(b'"ok"}')  # so the others were accepted too
        assert await silent.rest() == b""
        assert await begun.rest() == b""


async def test_sockets_that_have_not_said_hello_hear_that_the_server_restarts(serving: Serving):
    async with AsyncExitStack() as lines:
        async with serving(handshake_s=20) as live:
            client = await lines.enter_async_context(peer(live.port))
            await client.send(REQUEST)
            assert (await answer(client)).startswith(b"HTTP/1.1 101 ")
        [(opcode, said)] = read(await client.rest())
    assert (opcode, int.from_bytes(said[:2])) == (CLOSE, 1012)


@pytest.mark.parametrize(("proxies", "second"), [("127.0.0.1", b'"welcome"'), ("10.0.0.1", b'"rate_limited"')])
async def test_a_proxy_that_is_trusted_says_where_a_socket_is(serving: Serving, proxies: str, second: bytes):
    there = REQUEST[:-2] + b"X-Forwarded-For: 192.0.2.9, 127.0.0.1\r\n\r\n"
    async with (
        serving(connections_per_address=1, trusted_proxies=proxies) as live,
        peer(live.port) as one,
        peer(live.port) as other,
    ):
        await one.send(there + hello())
        await one.heard(b'"welcome"')
        await other.send(there.replace(b"192.0.2.9", b"192.0.2.10") + hello("ben"))
        await other.heard(second)
