"""A socket that says every message back, and a client made of bytes, which sends what no library would."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from syncserver.transports.websocket import Rules, Socket

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x37\xfa\x21\x3d"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
REQUEST = (
    "GET /api/v1/socket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()

Heard = list[tuple[int, bytes]]
"""What a server said: opcodes with payloads."""


def framed(
    opcode: int, payload: bytes = b"", *, last: bool = True, reserved: int = 0, mask: bytes | None = MASK
) -> bytes:
    """A client's frame as it goes over the line."""
    first = (0x80 if last else 0) | reserved << 4 | opcode
    masked = 0 if mask is None else 0x80
    length = len(payload)
    if length < 126:
        head = bytes([first, masked | length])
    elif length < 65_536:
        head = bytes([first, masked | 126]) + length.to_bytes(2)
    else:
        head = bytes([first, masked | 127]) + length.to_bytes(8)
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def in_pieces(opcode: int, payload: bytes, size: int) -> bytes:
    """A message in frames of so many bytes."""
    parts = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    final = len(parts) - 1
    return b"".join(
        framed(CONTINUATION if number else opcode, part, last=number == final) for number, part in enumerate(parts)
    )


def closing(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """A client's close."""
    return framed(CLOSE, close(code, reason))


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """The payload of a close."""
    return b"" if code is None else code.to_bytes(2) + reason


def chopped(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def read(said: bytes) -> Heard:
    """The frames of a server; anything else than whole, unmasked frames in their shortest form fails."""
    heard: Heard = []
    while said:
        first, length, at = said[0], said[1], 2
        assert not first & 0x70, "a reserved bit"
        if length >= 126:
            size = 2 if length == 126 else 8
            length, at = int.from_bytes(said[2 : 2 + size]), 2 + size
            assert length >= (126 if size == 2 else 65_536), "masked, or too long a head"
        assert first & 0x80, "a server sends no pieces"
        assert len(said) >= at + length, "half a frame"
        heard.append((first & 0xF, said[at : at + length]))
        said = said[at + length :]
    return heard


def closed_with(heard: Heard) -> int | None:
    """The code of the last frame, which is the one close."""
    assert [opcode for opcode, _ in heard].count(CLOSE) == 1
    opcode, payload = heard[-1]
    assert opcode == CLOSE
    payload[2:].decode()
    return int.from_bytes(payload[:2]) if payload else None


class Echo:
    """Behind a socket: says everything back at once."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.lost_times = 0
        self.resumptions = asyncio.Event()

    def begin(self) -> None: ...

    def received(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.socket.write([self.socket.form(message.encode())])
        else:
            formed = self.socket.form(message)
            self.socket.write([bytes([0x80 | BINARY]) + formed[1:]])

    def resumed(self) -> None:
        self.resumptions.set()

    def lost(self) -> None:
        self.lost_times += 1


class Client:
    """One line to an echo. `echo`: what stands at its other end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, echo: Echo) -> None:
        self.reader = reader
        self.writer = writer
        self.echo = echo

    def send(self, data: bytes) -> None:
        """Over the line, in whatever pieces that makes of it."""
        self.writer.write(data)

    def give(self, pieces: Sequence[bytes]) -> None:
        """As if the line had brought exactly these pieces."""
        for piece in pieces:
            self.echo.socket.data_received(piece)

    async def rest(self) -> Heard:
        """Everything until the server's end, which has to come by itself."""
        async with asyncio.timeout(20):
            return read(await self.reader.read())

    async def hears(self, data: bytes, *, chops: int = 0) -> Heard:
        """What is answered to this until the server's end."""
        if chops:
            self.give(chopped(data, chops))
        else:
            self.send(data)
        return await self.rest()


@asynccontextmanager
async def echoing(**rules: Any) -> AsyncIterator[Callable[[], Any]]:
    """A server of echoes; what is given opens lines to it."""
    made: asyncio.Queue[Echo] = asyncio.Queue()

    def connect(socket: Socket) -> Echo:
        made.put_nowait(echo := Echo(socket))
        return echo

    shared = Rules(connect, **{"pings_per_s": 0, **rules})
    server = await asyncio.get_running_loop().create_server(lambda: Socket(shared), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    @asynccontextmanager
    async def opened() -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
        try:
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            yield Client(reader, writer, await made.get())
        finally:
            writer.transport.abort()

    async with server:
        yield opened
        for socket in list(shared.connections):
            socket.abort()  # type: ignore[attr-defined] # they are Sockets
