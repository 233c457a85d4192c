"""HTTP/1.1 from a raw stream, one connection a request: what is cut off anywhere is an error, never a short answer."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer whose body is still to come."""

    status: int
    headers: Mapping[str, str]
    reader: asyncio.StreamReader

    async def body(self) -> AsyncIterator[bytes]:
        """Its parts as they come; raises EOFError where it ends before its end."""
        if self.status in {204, 304}:
            return
        if self.headers.get("transfer-encoding") != "chunked":
            yield await self.reader.readexactly(int(self.headers["content-length"]))
            return
        while size := int((await self._line()).split(b";")[0], 16):
            yield await self.reader.readexactly(size)
            await self._line()

    async def _line(self) -> bytes:
        return (await self.reader.readuntil(b"\r\n"))[:-2]

    async def lines(self) -> AsyncIterator[str]:
        """Its lines as they come."""
        rest = b""
        async for part in self.body():
            *whole, rest = (rest + part).split(b"\n")
            for line in whole:
                yield line.rstrip(b"\r").decode()


@asynccontextmanager
async def opened(
    port: int, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
) -> AsyncIterator[Opened]:
    """Send a request and read the head of its answer; raises OSError or EOFError where the network fails."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        sent = {"Host": "127.0.0.1", "Connection": "close", "Content-Length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)
        await writer.drain()
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        yield Opened(int(first.split()[1]), {name.lower(): value for name, value in pairs}, reader)
    finally:
        writer.transport.abort()


async def ask(port: int, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
    """The whole answer to a request; raises OSError or EOFError where the network fails."""
    async with opened(port, method, target, headers, body) as answer:
        whole = b"".join([part async for part in answer.body()])
        return Answer(answer.status, answer.headers, whole)
