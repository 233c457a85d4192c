"""Who does not read: bounded, cut off in time, and of no cost to the others. Who reads slowly is left alone."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from syncserver.app import lines
from tests.harness import Live, Serving, Urls, token
from tests.transports.sockets import HELLO, greeted, pushed, put
from tests.transports.stalled import PING, Peer, framed, greeted_peer, peer

_MIB = 1_048_576
_PAGE = Path("/proc/self/statm")

SQL = """
    INSERT INTO reading_progress (owner, publication_id, position, updated_at)
    SELECT 'user:ada', n::text, repeat('p', 4000), now() FROM generate_series(1, %s) AS n
"""


def hello(user: str = "ada") -> dict[str, Any]:
    return {**HELLO, "client_id": str(uuid4()), "token": token(user)}


def written(database: Urls, mebibytes: int) -> int:
    """That much in the log of ada, by SQL; how many rows."""
    rows = mebibytes * _MIB // 4000
    with psycopg.connect(database.owner) as connection:
        connection.execute(SQL, [rows])
    return rows


async def only(live: Live, number: int) -> None:
    """Until so many are left."""
    async with asyncio.timeout(60):
        while len(live.parts.house) > number:  # noqa: ASYNC110 - turns of the loop, until they were cut
            await asyncio.sleep(0)


def memory_bytes() -> int:
    return int(_PAGE.read_text().split()[1]) * 4096


@pytest.mark.skipif(not _PAGE.exists(), reason="memory is read from /proc")
async def test_stalled_readers_are_bounded_and_cut_and_the_others_get_everything(serving: Serving, database: Urls):
    async with serving(slow_reader_s=2) as live, greeted(live) as reader, AsyncExitStack() as stack:
        await reader.say({"type": "subscribe", "cursor": None})
        await reader.hear_until("ready")
        stalled = [await stack.enter_async_context(greeted_peer(live.port, hello())) for _ in range(20)]
        before, most = memory_bytes(), 0
        rows = await asyncio.to_thread(written, database, 20)
        offset = 0
        while offset < rows:
            frame = await reader.hear_until("changes")
            offset = frame["rows"][-1]["offset"]
            most = max(most, memory_bytes() - before)
        await only(live, 1)
        for one in stalled:
            assert len(await one.rest()) < 4 * _MIB
        await reader.say({"type": "ping"})
        assert (await reader.hear_until("pong"))["type"] == "pong"
    assert most < 150 * _MIB  # twenty times twenty would be 400


async def test_a_reader_that_is_slow_but_steady_gets_everything(
    serving: Serving, database: Urls, monkeypatch: pytest.MonkeyPatch
):
    """A page takes it longer than the patience of the server, and so does a ping; but it never stops for long."""
    monkeypatch.setattr("syncserver.app.server._PING_S", 0.5)
    monkeypatch.setattr("syncserver.app.server._PONG_S", 0.5)
    async with serving(slow_reader_s=1) as live, greeted_peer(live.port, hello()) as slow:
        rows = await asyncio.to_thread(written, database, 1)
        found = b""
        async with asyncio.timeout(100):
            while f'"offset":{rows},'.encode() not in found[-70_000:]:
                more = await slow.read(32_768)
                assert more, "it was cut"
                found += more
                await asyncio.sleep(0.1)  # how slow it is
    assert found.count(b'"offset":') == rows


async def test_a_stalled_reader_does_not_hold_up_a_drain(serving: Serving, database: Urls):
    async with serving() as live, greeted_peer(live.port, hello()) as stalled:
        await asyncio.to_thread(written, database, 4)
        await stalled.heard(b'"changes"')
        await live.parts.house.drain(0, 20)
        assert len(live.parts.house) == 0


async def _push_for_ever(slow: Peer) -> None:
    push = {"type": "push", "mutations": [{}] * 500}
    while True:
        await slow.say(push)


async def _ping_for_ever(slow: Peer) -> None:
    pings = framed(b"p" * 125, PING) * 1000
    while True:
        await slow.send(pings)


@pytest.mark.parametrize("work", [_push_for_ever, _ping_for_ever])
async def test_who_asks_and_never_reads_the_answers_is_cut(serving: Serving, work: Any):
    async with serving(slow_reader_s=1) as live, greeted_peer(live.port, hello(), subscribed=False) as slow:
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(60):
                await work(slow)
        await only(live, 0)


@pytest.mark.parametrize("path", ["/api/v1/changes/stream", "/api/v1/changes?limit=1000"])
async def test_a_stalled_stream_or_answer_is_cut_too(serving: Serving, database: Urls, path: str):
    rows = await asyncio.to_thread(written, database, 8)
    async with serving(slow_reader_s=1) as live, AsyncExitStack() as stack:
        cut = asyncio.Event()
        stalled = await stack.enter_async_context(peer(live.port))
        aborted = lines.Http.stalled

        def noted(self: lines.Http) -> None:
            aborted(self)
            cut.set()

        stack.enter_context(pytest.MonkeyPatch.context()).setattr(lines.Http, "stalled", noted)
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token('ada')}\r\n\r\n"
        await stalled.send(request.encode())
        async with asyncio.timeout(60):
            await cut.wait()
        await only(live, 0)
        found = await stalled.rest()
        assert len(found) < 2 * _MIB
        assert f'"offset":{rows},'.encode() not in found


async def test_a_peer_that_vanishes_is_noticed_by_its_silence(serving: Serving, monkeypatch: pytest.MonkeyPatch):
    """It does not answer pings: neither read nor closed, as a device out of reach."""
    monkeypatch.setattr("syncserver.app.server._PING_S", 0.2)
    monkeypatch.setattr("syncserver.app.server._PONG_S", 0.2)
    async with serving() as live, greeted(live) as there, greeted_peer(live.port, hello()):
        assert len(live.parts.house) == 2
        await only(live, 1)
        await there.say({"type": "ping"})
        assert (await there.hear_until("pong"))["type"] == "pong"


_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("beginning", [b"", b"GET /hea", _REQUEST[:-2], b"GET /api/v1/socket HTTP/1.1\r\nUpgrade: web"])
async def test_a_head_that_does_not_come_whole_in_time_is_cut(serving: Serving, beginning: bytes):
    async with serving(handshake_s=0.1) as live, greeted(live) as other, peer(live.port) as slow:
        await slow.send(beginning)
        assert await slow.rest() == b""
        await other.say({"type": "ping"})
        assert (await other.hear_until("pong"))["type"] == "pong"


async def _drip_for_ever(slow: Peer) -> None:
    async with asyncio.timeout(20):
        while True:
            await slow.send(b"x")
            await asyncio.sleep(0.02)  # how slow it is


async def test_a_head_that_drips_in_is_cut_however_often_a_byte_comes(serving: Serving):
    async with serving(handshake_s=0.2) as live, peer(live.port) as slow:
        await slow.send(_REQUEST[:-2] + b"X: ")
        with pytest.raises(ConnectionError):
            await _drip_for_ever(slow)


async def test_the_second_request_of_a_line_has_its_own_time(serving: Serving):
    async with serving(handshake_s=0.3) as live, peer(live.port) as client:
        for _ in range(6):
            await client.send(_REQUEST)
            await client.heard(b'"ok"}')
            await asyncio.sleep(0.1)  # longer together than one head may take
        await client.send(_REQUEST[:5])
        assert await client.rest() == b""


async def test_what_takes_long_to_answer_is_not_cut(serving: Serving):
    async with serving(handshake_s=0.1) as live, peer(live.port) as client, peer(live.port) as reader:
        for path, one in (("changes?wait=1", client), ("changes/stream", reader)):
            head = f"GET /api/v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token('ada')}\r\n\r\n"
            await one.send(head.encode())
        await client.heard(b"204 No Content")
        async with greeted(live) as writer:
            await pushed(writer, put("later"))
        await reader.heard(b'"later"')
