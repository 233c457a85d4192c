"""A peer made of a bare TCP socket, that reads only when it is told to, for tests of who does not read."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import orjson

_UPGRADE = (
    "GET /api/v1/socket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, PING = 0x1, 0x9


class Peer:
    """Sends whole messages; what comes is left in the kernel until `read`."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.raw, data)

    async def say(self, frame: Any) -> None:
        await self.send(framed(orjson.dumps(frame)))

    async def read(self, most: int = 65_536) -> bytes:
        """What is there, waiting for something; nothing at the end, whichever way it came."""
        try:
            return await self._loop.sock_recv(self.raw, most)
        except ConnectionError:
            return b""

    async def heard(self, words: bytes) -> None:
        """Read until these words came."""
        found = b""
        async with asyncio.timeout(20):
            while words not in found:
                more = await self.read(4096)
                if not more:
                    raise EOFError
                found += more

    async def rest(self) -> bytes:
        """Everything until the end."""
        found = bytearray()
        async with asyncio.timeout(60):
            while more := await self.read():
                found += more
        return bytes(found)


def framed(payload: bytes, opcode: int = TEXT) -> bytes:
    """A client's frame, masked with zeros."""
    length = len(payload)
    if length < 126:
        head = bytes([0x80 | length])
    elif length < 65_536:
        head = bytes([0x80 | 126]) + length.to_bytes(2)
    else:
        head = bytes([0x80 | 127]) + length.to_bytes(8)
    return bytes([0x80 | opcode]) + head + bytes(4) + payload


@contextlib.asynccontextmanager
async def peer(port: int) -> AsyncIterator[Peer]:
    """A TCP connection with a small receive buffer."""
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        yield Peer(raw)


@contextlib.asynccontextmanager
async def greeted_peer(port: int, hello: dict[str, Any], *, subscribed: bool = True) -> AsyncIterator[Peer]:
    """A WebSocket that has said hello, and is live if it subscribed."""
    async with peer(port) as found:
        await found.send(_UPGRADE.encode())
        await found.heard(b"101 Switching")
        await found.say(hello)
        await found.heard(b'"welcome"')
        if subscribed:
            await found.say({"type": "subscribe", "cursor": None})
            await found.heard(b'"ready"')
        yield found
