"""A TCP proxy between client and server: switches for one test's story, and ills drawn from a seed for a storm.

The switches refuse sockets, swallow what the server says, and cut everything. Ills are per connection and direction;
`heal` ends them all: what was held goes on, and what cannot be whole again (bytes are missing) is cut.
"""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator

from tests.faults.ills import HEALTHY, Fate, Ill, Ills, Kind

_REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_CHUNK_BYTES = 65_536


class Proxy:
    """One listening port in front of the server's. The switches may be changed at any time."""

    def __init__(self, server_port: int, ills: Ills | None = None) -> None:
        self._server_port = server_port
        self._ills = ills
        self.port = 0
        self.down = False
        self.refuse_sockets = False
        self.swallow_answers = False
        self.swallowed = asyncio.Event()
        self.healed = asyncio.Event()
        self.struck: Counter[str] = Counter()
        self._links: set[_Link] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Cut every connection that there is."""
        for link in self._links:
            link.cut()

    def heal(self) -> None:
        """No more ills, in old connections or new ones."""
        self._ills = None
        self.healed.set()
        for link in self._links:
            if link.broken:
                link.cut()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Listen until left."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            await asyncio.gather(*(link.task for link in self._links), return_exceptions=True)
            await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        fate = self._ills.draw() if self._ills else HEALTHY
        if self.down or fate.refuse:
            self.struck["refuse"] += fate.refuse
            reset(writer)
            return
        link = _Link(self, task, fate, reader, writer)
        self._links.add(link)
        try:
            await link.carry(self._server_port)
        except (OSError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # a side is gone, or we cut
        finally:
            self._links.discard(link)
            writer.transport.abort()


class _Link:
    """One connection on its way through. `broken`: bytes of it are lost, so nothing may follow them."""

    def __init__(
        self,
        proxy: Proxy,
        task: asyncio.Task[None],
        fate: Fate,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self.task = task
        self._fate = fate
        self._reader = reader
        self._writer = writer
        self._server: asyncio.StreamWriter | None = None
        self.broken = False

    def cut(self) -> None:
        self.task.cancel()

    async def carry(self, port: int) -> None:
        first = await self._reader.readuntil(b"\r\n\r\n")
        if (self._proxy.refuse_sockets or self._fate.refuse_socket) and b"upgrade: websocket" in first.lower():
            self._proxy.struck["refuse-socket"] += self._fate.refuse_socket
            self._writer.write(_REFUSED)
            await self._writer.drain()
            return
        there, back = await asyncio.open_connection("127.0.0.1", port)
        self._server = back
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_Way(self, self._reader, back, self._fate.there).run(first))
                ways.create_task(_Way(self, there, self._writer, self._fate.back, answers=True).run(b""))
        except* (OSError, EOFError):
            pass
        finally:
            back.transport.abort()

    def reset(self) -> None:
        for writer in (self._writer, self._server):
            if writer is not None:
                reset(writer)

    def struck(self, kind: Kind) -> None:
        self._proxy.struck[kind] += 1

    async def healed(self, within_s: float | None) -> None:
        """Return after this time, or when the proxy is healed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._proxy.healed.wait()

    def swallows(self) -> bool:
        if self._proxy.swallow_answers:
            self._proxy.swallowed.set()
        return self._proxy.swallow_answers

    @property
    def well(self) -> bool:
        return self._proxy.healed.is_set()


class _Way:
    """One direction of a link."""

    def __init__(
        self,
        link: _Link,
        source: asyncio.StreamReader,
        to: asyncio.StreamWriter,
        ill: Ill | None,
        *,
        answers: bool = False,
    ) -> None:
        self._link = link
        self._source = source
        self._to = to
        self._ill = ill
        self._answers = answers
        self._room = ill.at_bytes if ill else 0

    async def run(self, chunk: bytes) -> None:
        """Carry until the source ends, or the ill ends it."""
        while chunk or (chunk := await self._source.read(_CHUNK_BYTES)):
            if self._answers and self._link.swallows():
                pass
            elif self._ill is None or self._link.well:
                await self._pass(chunk)
            elif len(chunk) <= self._room:
                self._room -= len(chunk)
                await self._pass(chunk)
            else:
                ill, self._ill = self._ill, None
                self._link.struck(ill.kind)
                await self._strike(ill, chunk)
            chunk = b""
        raise EOFError

    async def _pass(self, chunk: bytes) -> None:
        self._to.write(chunk)
        await self._to.drain()

    async def _strike(self, ill: Ill, chunk: bytes) -> None:
        before, after = chunk[: self._room], chunk[self._room :]
        match ill.kind:
            case Kind.CUT:  # nothing of this chunk arrives; both sides get a reset
                self._link.reset()
                raise EOFError
            case Kind.TRUNCATE:  # its first bytes arrive, then both sides are closed in order
                await self._pass(before)
                self._to.close()
                await self._to.wait_closed()
                raise EOFError
            case Kind.HALF_CLOSE:  # its first bytes arrive, then an end; the other direction goes on
                await self._pass(before)
                self._link.broken = True
                self._to.write_eof()
                await self._drop()
            case Kind.SWALLOW:  # its first bytes arrive, then silence
                await self._pass(before)
                self._link.broken = True
                await self._drop()
            case Kind.STALL:  # it is held for a while, or until the proxy is healed, and then goes on
                await self._link.healed(ill.for_s)
                await self._pass(chunk)
            case Kind.SLOW:
                await self._pass(before)
                await self._slowly(ill, after)

    async def _drop(self) -> None:
        while await self._source.read(_CHUNK_BYTES):
            pass

    async def _slowly(self, ill: Ill, chunk: bytes) -> None:
        """From here on in small pieces, so that frames and heads are split anywhere, until the proxy is healed."""
        while chunk and not self._link.well:
            piece, chunk = chunk[: ill.piece_bytes], chunk[ill.piece_bytes :]
            await self._pass(piece)
            await self._link.healed(len(piece) / ill.bytes_a_second)
            chunk = chunk or await self._source.read(_CHUNK_BYTES)
        if chunk:
            await self._pass(chunk)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, as a dead peer's kernel does, and not in order."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
