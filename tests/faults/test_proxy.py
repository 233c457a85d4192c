"""The proxy does to a connection what it is told to, seen with raw sockets on both sides."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.faults.ills import Fate, Ill, Ills, Kind
from tests.faults.proxy import Proxy

_HEAD = b"GET / HTTP/1.1\r\n\r\n"
_SOCKET_HEAD = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
_BODY = bytes(range(256)) * 8


@dataclass
class _Told(Ills):
    """Draws what the test says."""

    fate: Fate

    def draw(self) -> Fate:
        return self.fate


@dataclass
class _Peer:
    """The server's side: what came, piece by piece, and how to answer."""

    pieces: list[bytes] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    reset: bool = False
    serving: set[asyncio.Task[None]] = field(default_factory=set)
    writer: asyncio.StreamWriter | None = None
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        if task := asyncio.current_task():
            self.serving.add(task)
        try:
            while piece := await reader.read(65_536):
                self.pieces.append(piece)
                self.came.set()
        except ConnectionResetError:
            self.reset = True
        finally:
            writer.transport.abort()
        self.ended.set()

    async def holds(self, count: int) -> bytes:
        while len(b"".join(self.pieces)) < count:
            self.came.clear()
            await self.came.wait()
        return b"".join(self.pieces)

    async def say(self, answer: bytes) -> None:
        await self.holds(1)
        assert self.writer
        self.writer.write(answer)
        await self.writer.drain()


@dataclass
class _Scene:
    proxy: Proxy
    peer: _Peer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@asynccontextmanager
async def scene(fate: Fate, first: bytes = _HEAD) -> AsyncIterator[_Scene]:
    """A client connected through the proxy, which has sent a request's head."""
    peer = _Peer()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    async with (
        asyncio.timeout(20),
        server,
        Proxy(server.sockets[0].getsockname()[1], _Told(fate)).running() as proxy,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        try:
            writer.write(first)
            yield _Scene(proxy, peer, reader, writer)
        finally:
            writer.transport.abort()
    await asyncio.gather(*peer.serving)


async def test_a_healthy_connection_carries_every_byte_both_ways():
    async with scene(Fate()) as on:
        on.writer.write(_BODY)
        assert await on.peer.holds(len(_HEAD + _BODY)) == _HEAD + _BODY
        await on.peer.say(_BODY)
        assert await on.reader.readexactly(len(_BODY)) == _BODY


async def test_a_refused_connection_is_reset_and_the_server_hears_nothing():
    async with scene(Fate(refuse=True)) as on:
        with pytest.raises(ConnectionResetError):
            await on.reader.read(1)
        assert on.peer.writer is None


async def test_an_upgrade_is_refused_with_403_and_other_requests_pass():
    async with scene(Fate(refuse_socket=True), _SOCKET_HEAD) as on:
        assert (await on.reader.read()).startswith(b"HTTP/1.1 403 ")
        assert on.peer.writer is None
    async with scene(Fate(refuse_socket=True)) as on:
        assert await on.peer.holds(len(_HEAD)) == _HEAD


async def test_a_cut_delivers_nothing_of_the_chunk_and_resets_both_sides():
    async with scene(Fate(back=Ill(Kind.CUT, at_bytes=100))) as on:
        await on.peer.say(_BODY)
        with pytest.raises(ConnectionResetError):
            await on.reader.readexactly(1)
        await on.peer.ended.wait()
        assert on.peer.reset


async def test_truncation_delivers_the_first_bytes_and_then_an_end():
    async with scene(Fate(back=Ill(Kind.TRUNCATE, at_bytes=100))) as on:
        await on.peer.say(_BODY)
        assert await on.reader.read(-1) == _BODY[:100]
        await on.peer.ended.wait()


async def test_after_a_half_close_the_other_direction_goes_on():
    async with scene(Fate(back=Ill(Kind.HALF_CLOSE, at_bytes=10))) as on:
        await on.peer.say(_BODY)
        assert await on.reader.read(-1) == _BODY[:10]
        on.writer.write(_BODY)
        assert await on.peer.holds(len(_HEAD + _BODY)) == _HEAD + _BODY
        on.proxy.heal()  # bytes are missing: it cannot go on
        await on.peer.ended.wait()


async def test_what_is_stalled_for_ever_arrives_whole_when_the_proxy_is_healed():
    async with scene(Fate(back=Ill(Kind.STALL, at_bytes=10))) as on:
        await on.peer.say(_BODY)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await on.reader.read(1)
        on.proxy.heal()
        assert await on.reader.readexactly(len(_BODY)) == _BODY


async def test_a_stall_with_an_end_goes_on_by_itself():
    async with scene(Fate(back=Ill(Kind.STALL, at_bytes=10, for_s=0.01))) as on:
        await on.peer.say(_BODY)
        assert await on.reader.readexactly(len(_BODY)) == _BODY


async def test_a_slow_connection_splits_anywhere_and_loses_nothing():
    slow = Ill(Kind.SLOW, at_bytes=3, bytes_a_second=2_000, piece_bytes=7)
    async with scene(Fate(there=slow)) as on:
        on.writer.write(_BODY)
        assert await on.peer.holds(len(_HEAD) + 200) == (_HEAD + _BODY)[: len(b"".join(on.peer.pieces))]
        assert len(on.peer.pieces) > 10
        on.proxy.heal()
        assert await on.peer.holds(len(_HEAD + _BODY)) == _HEAD + _BODY


async def test_what_is_swallowed_never_arrives_and_the_connection_is_cut_when_the_proxy_is_healed():
    async with scene(Fate(back=Ill(Kind.SWALLOW, at_bytes=5))) as on:
        await on.peer.say(_BODY)
        assert await on.reader.readexactly(5) == _BODY[:5]
        on.proxy.heal()
        assert await on.reader.read(-1) == b""


async def test_after_healing_new_connections_are_healthy():
    async with scene(Fate()) as on:
        on.proxy._ills = _Told(Fate(refuse=True))
        on.proxy.heal()
        _, writer = await asyncio.open_connection("127.0.0.1", on.proxy.port)
        writer.write(_HEAD)
        assert await on.peer.holds(len(_HEAD + _HEAD)) == _HEAD + _HEAD
        writer.transport.abort()


def test_the_same_seed_draws_the_same_ills_and_all_of_them():
    one, two = Ills(7), Ills(7)
    drawn = [one.draw() for _ in range(300)]
    assert drawn == [two.draw() for _ in range(300)]
    assert {ill.kind for fate in drawn for ill in (fate.there, fate.back) if ill} == set(Kind)
    assert any(fate.refuse for fate in drawn)
    assert any(fate.refuse_socket for fate in drawn)
