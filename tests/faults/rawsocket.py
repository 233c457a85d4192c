"""A WebSocket (RFC 6455) from a raw stream, so that a test may send what no client would."""

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.faults.rawhttp import Opened

PATH = "/api/v1/socket"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
UPGRADE: Mapping[str, str] = {
    "Host": "127.0.0.1",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "syncserver.v1",
}
_SHORT, _TWO, _EIGHT = 125, 126, 127
_NO_MASK_CHARS = 65_536


@dataclass(frozen=True, slots=True)
class Heard:
    """One frame of the server's."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int | None:
        """Of a close: why; None where it does not say."""
        return struct.unpack("!H", self.payload[:2])[0] if len(self.payload) > 1 else None


def frame(
    payload: bytes,
    opcode: int = TEXT,
    *,
    last: bool = True,
    reserved: int = 0,
    mask: bytes | None = b"\x5a\xa5\x0f\xf0",
    claimed: int | None = None,
    width: int | None = None,
) -> bytes:
    """A client's frame. `reserved`: the three bits; `claimed`: a length that is not its own; `width`: of it."""
    length = len(payload) if claimed is None else claimed
    width = width if width is not None else 0 if length <= _SHORT else 2 if length < 1 << 16 else 8
    said = length if width == 0 else _TWO if width == 2 else _EIGHT
    head = bytes([(last << 7) | (reserved << 4) | opcode, ((mask is not None) << 7) | said])
    head += b"" if width == 0 else length.to_bytes(width, "big")
    if mask is None:
        return head + payload
    return head + (bytes(4) + payload if len(payload) > _NO_MASK_CHARS else mask + _masked(payload, mask))


def _masked(payload: bytes, mask: bytes) -> bytes:
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")


@dataclass
class RawSocket:
    """A connection whose upgrade was answered with `status`; it speaks WebSocket if that is 101."""

    status: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def heard(self) -> Heard:
        """The server's next frame; raises EOFError at the end and ValueError for what a server must not send."""
        first, second = await self.reader.readexactly(2)
        if second & 0x80 or first & 0x70 or not first & 0x80:
            raise ValueError("the server sent a masked, reserved or unfinished frame")
        length = second & 0x7F
        if length > _SHORT:
            length = int.from_bytes(await self.reader.readexactly(2 if length == _TWO else 8), "big")
        return Heard(first & 0x0F, await self.reader.readexactly(length))

    def abort(self) -> None:
        """Cut the line."""
        self.writer.transport.abort()


def upgrade(headers: Mapping[str, str] = UPGRADE, path: str = PATH) -> bytes:
    """The request that begins a WebSocket."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


async def connected(port: int, head: bytes | None = None) -> RawSocket:
    """A socket whose upgrade was answered; raises OSError or EOFError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        writer.write(head or upgrade())
        return RawSocket((await answered(reader)).status, reader, writer)
    except BaseException:
        writer.transport.abort()
        raise


async def answered(reader: asyncio.StreamReader) -> Opened:
    """The head of the next answer on a stream; raises EOFError or ValueError where there is none."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    return Opened(int(first.split()[1]), {name.lower(): value.strip() for name, value in pairs}, reader)


@asynccontextmanager
async def opened(port: int) -> AsyncIterator[RawSocket]:
    """One for a while."""
    socket = await connected(port)
    try:
        yield socket
    finally:
        socket.abort()
