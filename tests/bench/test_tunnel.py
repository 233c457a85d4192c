"""What a device's network can do to it: held bytes wait and then go on, in both directions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.bench.tunnel import Tunnel, Way

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """Sends back what it gets; `heard` grows with it."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.port = 0
        self.ended = asyncio.Event()
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        self.ended.clear()
        with suppress(ConnectionError):
            while some := await reader.read(1000):
                self.heard += some
                writer.write(some)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self._open -= 1
        if not self._open:
            self.ended.set()


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[Echo, Tunnel]]:
    found = Echo()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    tunnel = Tunnel("127.0.0.1", found.port)
    await tunnel.open()
    try:
        yield found, tunnel
    finally:
        await tunnel.close()
        await found.ended.wait()
        server.close()


async def through(tunnel: Tunnel) -> Streams:
    return await asyncio.open_connection("127.0.0.1", int(tunnel.url.rpartition(":")[2]))


async def round_trip(port: int) -> None:
    """Some time passes: enough for anything that is under way on this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(20):
        writer.write(b"?")
        assert await reader.readexactly(1) == b"?"
    writer.close()
    await writer.wait_closed()


async def said(streams: Streams, words: bytes) -> None:
    streams[1].write(words)
    assert await streams[0].readexactly(len(words)) == words


@pytest.mark.parametrize("way", ["device", "server"])
async def test_held_bytes_wait_and_then_go_on(way: Way):
    async with echo() as (server, tunnel):
        streams = await through(tunnel)
        await said(streams, b"before")
        tunnel.hold(way)
        streams[1].write(b"held")
        await round_trip(server.port)
        assert not streams[0]._buffer  # type: ignore[attr-defined] # what came and was not asked for yet
        assert (b"held" in server.heard) == (way == "server")
        tunnel.flow()
        assert await streams[0].readexactly(4) == b"held"
        streams[1].close()
        await streams[1].wait_closed()


async def test_a_connection_made_meanwhile_is_held_too():
    async with echo() as (server, tunnel):
        tunnel.hold("device", "server")
        streams = await through(tunnel)
        streams[1].write(b"held")
        await round_trip(server.port)
        assert b"held" not in server.heard
        tunnel.flow()
        assert await streams[0].readexactly(4) == b"held"
        streams[1].close()
        await streams[1].wait_closed()


async def test_a_held_connection_can_be_cut():
    async with echo() as (_, tunnel):
        streams = await through(tunnel)
        await said(streams, b"before")
        tunnel.hold("device", "server")
        tunnel.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await streams[0].readexactly(1)
        tunnel.flow()
        tunnel.mend()
        again = await through(tunnel)
        await said(again, b"after")
        for _, writer in (streams, again):
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
