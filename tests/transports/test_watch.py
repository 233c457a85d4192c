"""Who takes nothing for too long is told of; who takes anything is not, however slow it is."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from syncserver.transports.line import Line
from syncserver.transports.watch import Watch

_WAITING = b"w" * 4_194_304
_SHORT_S = 0.12


class Stuck(asyncio.Protocol):
    """One end of a line, with more to write than the other end's kernel takes."""

    def __init__(self) -> None:
        self.stalled = asyncio.Event()
        self.transport: asyncio.Transport
        self.watch: Watch | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(_WAITING)

    def begin(self, slow_reader_s: float) -> None:
        self.watch = Watch(Line(self.transport), slow_reader_s, self.stalled.set)


@asynccontextmanager
async def stuck() -> AsyncIterator[tuple[Stuck, socket.socket]]:
    """It, and the other end."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        transport, protocol = await asyncio.get_running_loop().create_connection(Stuck, sock=ours)
        try:
            yield protocol, theirs
        finally:
            if protocol.watch is not None:
                protocol.watch.rest()
            transport.abort()


async def test_who_takes_nothing_is_told_of():
    async with stuck() as (one, _), asyncio.timeout(20):
        one.begin(_SHORT_S)
        await one.stalled.wait()


async def test_who_takes_a_little_now_and_then_is_left_alone():
    async with stuck() as (one, other):
        loop = asyncio.get_running_loop()
        one.begin(1.0)
        until = loop.time() + 2.0  # twice the patience
        while loop.time() < until:
            await loop.sock_recv(other, 16_384)
            await asyncio.sleep(0.05)  # how slow it is
        assert not one.stalled.is_set()
        async with asyncio.timeout(20):
            await one.stalled.wait()  # and when it stops, it is told of


async def test_nobody_is_told_of_when_the_watch_rests():
    async with stuck() as (one, _), stuck() as (other, _), asyncio.timeout(20):
        one.begin(_SHORT_S)
        assert one.watch is not None
        one.watch.rest()
        other.begin(_SHORT_S * 2)
        await other.stalled.wait()
        assert not one.stalled.is_set()
