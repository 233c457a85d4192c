"""A TCP proxy between client and server that can refuse sockets, swallow what the server says, and cut everything."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

_REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """One listening port in front of the server's. The switches may be changed at any time."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self.port = 0
        self.down = False
        self.refuse_sockets = False
        self.swallow_answers = False
        self.swallowed = asyncio.Event()
        self._links: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Cut every connection that there is."""
        for link in self._links:
            link.cancel()

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
            await asyncio.gather(*self._links, return_exceptions=True)
            await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        if link is None:
            return
        if self.down:
            writer.transport.abort()
            return
        self._links.add(link)
        try:
            await self._carry(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # a side is gone, or we cut
        finally:
            self._links.discard(link)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readuntil(b"\r\n\r\n")
        if self.refuse_sockets and b"upgrade: websocket" in first.lower():
            writer.write(_REFUSED)
            await writer.drain()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._server_port)
        try:
            back.write(first)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._copy(reader, back))
                ways.create_task(self._copy(there, writer, answers=True))
        except* (OSError, EOFError):
            pass
        finally:
            back.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, *, answers: bool = False) -> None:
        while chunk := await source.read(65_536):
            if answers and self.swallow_answers:
                self.swallowed.set()
                continue
            to.write(chunk)
            await to.drain()
        raise EOFError
