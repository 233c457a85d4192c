"""Every limit of a socket is hit: it says when to come back, nothing is lost, and others are not harmed."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import orjson
import pytest
import websockets

from tests.harness import Live, Serving, token
from tests.transports.sockets import HELLO, Socket, greeted, pushed, put, raw
from tests.transports.stalled import PING, framed, greeted_peer

RETRY = {"type": "goodbye", "code": 4003}


def still(live: Live) -> None:
    """From now on no time passes for the limits, however slow the machine is."""
    live.parts.limits._clock = lambda: 0.0


def later(live: Live, seconds: float) -> None:
    """From now on it is that much later, for the limits."""
    live.parts.limits._clock = lambda: time.monotonic() + seconds


async def refused(socket: Socket, **hello: Any) -> dict[str, Any]:
    """What the server says to a hello that it does not want."""
    await socket.say({**HELLO, "client_id": str(uuid4()), "token": token("ada"), **hello})
    return await socket.hear()


async def alive(socket: Socket) -> bool:
    await socket.say({"type": "ping"})
    return bool(await socket.hear_until("pong"))


async def test_the_limits_are_told_as_they_are_set(serving: Serving):
    async with serving(frame_bytes=50_000) as live, raw(live) as socket:
        await socket.say({**HELLO, "token": token("ada")})
        assert (await socket.hear())["limits"] == {"frame_bytes": 50_000, "mutations": 500}


async def test_frames_over_the_limit_end_the_socket_after_what_came_before_was_answered(serving: Serving):
    async with serving(frames_per_s=5) as live, greeted(live) as socket, greeted(live) as other:
        still(live)
        for _ in range(30):
            await socket.say({"type": "ping"})
        heard = [await socket.hear() for _ in range(21)]
        assert [frame["type"] for frame in heard] == ["pong"] * 20 + ["goodbye"]
        assert heard[20] == {**RETRY, "retry_after_s": 1.0}
        assert await socket.closed() == 4003
        assert await alive(other)
        async with greeted(live) as again:
            assert await alive(again)


async def test_mutations_over_the_limit_were_not_applied_and_are_when_they_come_again(serving: Serving):
    first, second = ([put(f"{part}-{n}") for n in range(60)] for part in "ab")
    async with serving(mutations_per_s=10) as live, greeted(live, "ben") as ben:
        still(live)
        async with greeted(live) as socket:
            assert {ack["status"] for ack in await pushed(socket, *first)} == {"applied"}
            await socket.say({"type": "push", "mutations": second})
            goodbye = await socket.hear()
            assert await socket.closed() == 4003
        assert {**goodbye, "retry_after_s": 0} == {**RETRY, "retry_after_s": 0}
        assert 1 < goodbye["retry_after_s"] <= 2
        assert [ack["status"] for ack in await pushed(ben, put())] == ["applied"]
        live.parts.limits._clock = lambda: goodbye["retry_after_s"]
        async with greeted(live) as socket:
            assert {ack["status"] for ack in await pushed(socket, *second)} == {"applied"}


async def test_what_comes_behind_a_push_over_the_limit_does_not_overtake_it(serving: Serving):
    hello = {**HELLO, "token": token("ada")}
    async with serving(mutations_per_s=1) as live, greeted_peer(live.port, hello, subscribed=False) as peer:
        still(live)
        await peer.say({"type": "push", "mutations": [put("first")] * 5})
        await peer.heard(b'"ack"')
        pushes = ({"type": "push", "mutations": [put(key)] * number} for key, number in (("many", 6), ("few", 1)))
        await peer.send(b"".join(framed(orjson.dumps(push)) for push in pushes))  # in one piece
        assert b'"goodbye"' in await peer.rest()
        async with greeted(live) as socket:
            await pushed(socket, put("last"))
            await socket.say({"type": "subscribe", "cursor": None})
            assert [row["key"] for row in (await socket.hear_until("changes"))["rows"]] == ["first", "last"]


async def test_sockets_of_one_reader(serving: Serving):
    async with serving(sockets_per_owner=2) as live, greeted(live), raw(live) as third, AsyncExitStack() as stack:
        second = await stack.enter_async_context(greeted(live, client_id="second"))
        error = await refused(third)
        assert (error["code"], error["retry_after_s"], await third.closed()) == ("rate_limited", 10.0, 4003)
        async with greeted(live, "ben") as ben:
            assert await alive(ben)
        async with greeted(live, client_id="second") as newer:  # the same client comes in its own place
            assert await alive(newer)
            assert await second.closed() == 4004
        await _here(live, 1)
        async with greeted(live) as another:
            assert await alive(another)


async def _here(live: Live, number: int) -> None:
    async with asyncio.timeout(10):
        while len(live.parts.house) != number:  # noqa: ASYNC110 - turns of the loop
            await asyncio.sleep(0)


async def test_connections_from_one_address_count_before_they_say_who_they_are(serving: Serving):
    async with serving(connections_per_address=2) as live, greeted(live) as first, AsyncExitStack() as stack:
        silent = await stack.enter_async_context(raw(live))
        async with raw(live) as third:
            error = await third.hear()
            assert (error["code"], error["retry_after_s"], await third.closed()) == ("rate_limited", 10.0, 4003)
        elsewhere = {"X-Forwarded-For": "192.0.2.9"}
        async with websockets.connect(live.socket_url, additional_headers=elsewhere) as connection:
            await connection.send(orjson.dumps({**HELLO, "token": token("ben")}).decode())
            assert b"welcome" in await connection.recv(decode=False)
        await silent.raw.close()
        async with greeted(live, "eve") as third:
            assert await alive(third)
        assert await alive(first)


async def test_after_too_many_wrong_tokens_not_even_a_good_one_is_looked_at_for_a_while(serving: Serving):
    async with serving(wrong_keys_per_minute=2) as live, greeted(live) as here:
        for _ in range(2):
            async with raw(live) as socket:
                assert (await refused(socket, token="wrong"))["code"] == "unauthorised"
                assert await socket.closed() == 4501
        async with raw(live) as socket:
            error = await refused(socket)
            assert (error["code"], await socket.closed()) == ("rate_limited", 4003)
            assert 25 < error["retry_after_s"] <= 30
        assert await alive(here)
        later(live, error["retry_after_s"])
        async with greeted(live) as socket:
            assert await alive(socket)


async def test_a_wrong_token_in_an_auth_frame_counts(serving: Serving):
    async with serving(wrong_keys_per_minute=1) as live:
        async with greeted(live) as socket:
            await socket.say({"type": "auth", "token": "wrong"})
            assert await socket.closed() == 4501
        async with raw(live) as socket:
            assert (await refused(socket))["code"] == "rate_limited"


@pytest.mark.parametrize(
    ("limit", "more"),
    [({"frame_bytes": 4_096}, {"state": {"a": "x" * 5_000}}), ({"json_depth": 8}, {"state": {"a": [[[[[[[1]]]]]]]}})],
)
async def test_a_frame_too_large_or_nested_too_deep_closes(serving: Serving, limit: Any, more: Any):
    async with serving(**limit) as live, greeted(live) as socket, greeted(live) as other:
        await socket.say({"type": "presence", **more})
        assert await socket.closed() == 1009
        assert await alive(other)


async def test_a_hello_that_does_not_come_in_time(serving: Serving):
    async with serving(handshake_s=0.05) as live, raw(live) as socket:
        assert (await socket.hear())["code"] == "hello_timeout"
        assert await socket.closed() == 4000


async def test_pings_count_too(serving: Serving):
    hello = {**HELLO, "token": token("ada")}
    async with serving(frames_per_s=5) as live, greeted_peer(live.port, hello, subscribed=False) as peer:
        await peer.send(framed(b"", PING) * 100)
        said = await peer.rest()
    assert said.startswith(b"\x8a\x00")  # they are answered at first
    assert b"\x0f\xa3too many pings" in said  # 4003


async def test_a_message_in_endless_pieces_is_given_up(serving: Serving):
    hello = {**HELLO, "token": token("ada")}
    async with serving() as live, greeted_peer(live.port, hello, subscribed=False) as peer:
        beginning, piece = bytes([0x01, 0x80, 0, 0, 0, 0]), bytes([0x00, 0x80, 0, 0, 0, 0])
        await peer.send(beginning + piece * 5_000)
        assert b"\x03\xf1a message in too many pieces" in await peer.rest()  # 1009


def _from(live: Live, origin: str) -> Any:
    return websockets.connect(live.socket_url, origin=websockets.Origin(origin))


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_a_page_that_is_not_let_in_hears_so(serving: Serving, origin: str):
    async with serving(origins="https://books.example") as live, _from(live, origin) as connection:
        error = orjson.loads(await connection.recv())
        assert (error["type"], error["code"]) == ("error", "forbidden_origin")
        with pytest.raises(websockets.ConnectionClosed):
            await connection.recv()
        assert connection.close_code == 4503


@pytest.mark.parametrize("origin", ["https://books.example", "http://127.0.0.1:{port}"])
async def test_a_page_that_is_let_in_and_one_of_the_host_itself_connect(serving: Serving, origin: str):
    async with (
        serving(origins="https://books.example") as live,
        _from(live, origin.format(port=live.port)) as connection,
    ):
        await connection.send(orjson.dumps({**HELLO, "token": token("ada")}).decode())
        assert orjson.loads(await connection.recv())["type"] == "welcome"
