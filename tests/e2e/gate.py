"""A box on the way that knows some kinds of requests and not others, as real networks have them."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
KINDS = ("socket", "stream", "long-poll", "poll", "push")


class Gate:
    """`refused` kinds are answered with 403, `held` ones never; both may be changed at any time."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self.port = 0
        self.refused: set[str] = set()
        self.held: set[str] = set()
        self.asked: Counter[str] = Counter()
        self._links: dict[asyncio.Task[None], str] = {}
        self._muted: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self, *kinds: str) -> None:
        """Cut what there is of these kinds, all if none is named."""
        for link, kind in self._links.items():
            if not kinds or kind in kinds:
                link.cancel()

    def mute(self) -> None:
        """What there is carries nothing any more, and nobody is told: a network that was left."""
        self._muted = set(self._links)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Gate"]:
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
        self._links[link] = ""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self._links[link] = kind = _kind(head)
            self.asked[kind] += 1
            await self._pass(link, kind, head, reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # a side is gone, or we cut
        finally:
            del self._links[link]
            writer.transport.abort()

    async def _pass(
        self,
        link: asyncio.Task[None],
        kind: str,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if kind in self.refused:
            writer.write(REFUSED)
            await writer.drain()
            return
        if kind in self.held:
            await asyncio.Event().wait()
        there, back = await asyncio.open_connection("127.0.0.1", self._server_port)
        try:
            # One request a connection, so that each is seen.
            back.write(head.replace(b"Connection: keep-alive", b"Connection: close"))
            ways = [
                asyncio.create_task(self._copy(link, reader, back)),
                asyncio.create_task(self._copy(link, there, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            back.transport.abort()

    async def _copy(self, link: asyncio.Task[None], source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(65_536):
                if link not in self._muted:
                    to.write(chunk)
                    await to.drain()


def _kind(head: bytes) -> str:
    line = head.split(b"\r\n", 1)[0]
    if b"upgrade: websocket" in head.lower():
        return "socket"
    if b"/changes/stream" in line:
        return "stream"
    if b"/push" in line:
        return "push"
    return "poll" if b"wait=0" in line else "long-poll" if b"wait=" in line else "other"
