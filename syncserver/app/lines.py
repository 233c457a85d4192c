"""uvicorn's protocols, with an eye on each line: what a peer does not take is bounded, and who takes nothing is cut.

A write buffer of none in this process means that a sender waits as soon as the kernel's (see `server.bound`) is full.
Who takes anything at all within the time is slow, not gone, and is left alone. Who takes its time with the head of a
request, or with what is left of a body that was answered already, is cut too.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from syncserver.core.bucket import Bucket
from syncserver.transports.line import KEY, Line

_LOOKS = 6
_SLOW_READER = 4002
_RATE_LIMITED = 4003
_TOO_LARGE = 1009
_NO_TEXT = 1007
_NO_HANDSHAKE = "This is not the handshake of a WebSocket.\n"
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_CAN_ANSWER = (h11.IDLE, h11.SEND_RESPONSE)
_BURST = 4
_PIECES = 4_096
_LAST_WORDS_S = 1.0
_CLOSING_S = 5.0


class Watched(asyncio.Protocol):
    """Mixed into a protocol of uvicorn's. `slow_reader_s`: how long a peer may take nothing of what waits for it."""

    slow_reader_s: float = 30
    app_state: dict[str, Any]
    loop: asyncio.AbstractEventLoop
    line: Line
    _look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound its buffer, and give the application its line."""
        carrier = cast("asyncio.Transport", transport)
        carrier.set_write_buffer_limits(0)
        self.line = Line(carrier)
        self.app_state = {**self.app_state, KEY: self.line}
        super().connection_made(carrier)

    def connection_lost(self, exc: Exception | None) -> None:
        """There is nothing to watch any more."""
        self._rest()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The kernel takes no more for now: begin to watch."""
        super().pause_writing()
        self._rest()
        self._watch(self.line.pending_bytes(), self.loop.time())

    def resume_writing(self) -> None:
        """Everything was taken."""
        self._rest()
        super().resume_writing()

    def stalled(self) -> None:
        """The peer took nothing for too long."""
        self.line.abort()

    def _watch(self, least_bytes: int, since: float) -> None:
        self._look = self.loop.call_later(self.slow_reader_s / _LOOKS, self._looked, least_bytes, since)

    def _looked(self, least_bytes: int, since: float) -> None:
        pending = self.line.pending_bytes()
        if pending < least_bytes:
            self._watch(pending, self.loop.time())
        elif self.loop.time() - since < self.slow_reader_s:
            self._watch(least_bytes, since)
        else:
            self.stalled()

    def _rest(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None


class Http(Watched, H11Protocol):
    """HTTP and the streams in it. `handshake_s`: how long the head of a request may take (0: for ever)."""

    handshake_s: float = 10
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The first head is due."""
        super().connection_made(transport)
        self._expect(something=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        self._expect(something=False)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A head that has begun is due in whole; one that is whole is not due any more."""
        super().data_received(data)
        self._expect(something=self._due())

    def on_response_complete(self) -> None:
        """What the request still owes is due. A next one need not come: the silence after an answer is uvicorn's."""
        super().on_response_complete()
        self._expect(something=self._due() and self._owing())

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP: a request that it was part of has ended, and after an answer there is none."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in _CAN_ANSWER:
            super().send_400_response(msg)
        else:
            self.transport.close()

    def _due(self) -> bool:
        """Whether the peer owes the rest of something that nobody else waits for."""
        return self.conn.their_state is h11.IDLE or (self.conn.our_state is h11.DONE and self._owing())

    def _owing(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY

    def _expect(self, *, something: bool) -> None:
        if not something and self._late is not None:
            self._late.cancel()
            self._late = None
        elif something and self._late is None and self.handshake_s:
            self._late = self.loop.call_later(self.handshake_s, self.line.abort)


class Socket(Watched, WebSocketsSansIOProtocol):
    """A WebSocket. Its pongs are bounded too, and pings that wait behind much are waited for.

    `pings_per_s`: how many of them a peer may send (0: any number); messages are counted by the connection.
    """

    pings_per_s: float = 50
    _pings: Bucket | None = None
    _cut: asyncio.TimerHandle | None = None
    _pong: bytes | None = None
    _pending_at_ping = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """What the library says of a handshake that is none repeats the headers that it came with: say less."""
        super().connection_made(transport)
        reject = self.conn.reject
        self.conn.reject = lambda status, text: reject(status, text and _NO_HANDSHAKE)  # type: ignore[method-assign] # see above

    def data_received(self, data: bytes) -> None:
        """What the library cannot even read as a handshake gets its answer too, and the line is not left open."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(b"".join(self.conn.data_to_send()) or _BAD_REQUEST)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is left to be cut."""
        if self._cut is not None:
            self._cut.cancel()
        super().connection_lost(exc)

    def stalled(self) -> None:
        """Say why, for a peer that wakes up this very second; then cut the line."""
        self._fail(_SLOW_READER, "nothing was read for too long")

    def handle_ping(self) -> None:
        """Answer; of a peer that pings and does not read, only the latest ping is answered."""
        if self.pings_per_s:
            self._pings = self._pings or Bucket(self.pings_per_s, self.pings_per_s * _BURST)
            if self._pings.take(self.loop.time()):
                self._fail(_RATE_LIMITED, "too many pings in too short a time")
                return
        if self.writable.is_set():
            super().handle_ping()
        else:
            self._pong = b"".join(self.conn.data_to_send())

    def handle_cont(self, event: Frame) -> None:
        """A piece of a message: however small, it takes some room."""
        if len(self.frames) < _PIECES:
            super().handle_cont(event)
        else:
            self._fail(_TOO_LARGE, "a message in too many pieces")

    def send_receive_event_to_app(self) -> None:
        """A message is whole. Text that is no UTF-8 is its sender's fault, and nothing to log."""
        if self.curr_msg_data_type == "text" and not _is_text(self.frames):
            self.frames = []
            if not self.close_sent:
                self.conn.send_close(_NO_TEXT)
                self.handle_parser_exception()
        else:
            super().send_receive_event_to_app()

    def resume_writing(self) -> None:
        """What was held back may go."""
        super().resume_writing()
        if self._pong is not None and not self.transport.is_closing():
            self.transport.write(self._pong)
            self._pong = None

    def send_keepalive_ping(self) -> None:
        """Ask whether somebody is there, and note what the question waits behind."""
        super().send_keepalive_ping()
        self._pending_at_ping = self.line.pending_bytes()

    def keepalive_timeout(self) -> None:
        """No answer came: gone, unless the peer is still at work on what was sent before, or watched already."""
        pending = self.line.pending_bytes()
        working = 0 < pending < self._pending_at_ping or not self.writable.is_set()
        if working and self.ping_timeout is not None:
            self._pending_at_ping = pending
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
            return
        super().keepalive_timeout()
        self._cut_in(_LAST_WORDS_S)

    async def run_asgi(self) -> None:
        """Serve; afterwards the peer has a few seconds to take its close."""
        await super().run_asgi()
        self._cut_in(_CLOSING_S)

    def _fail(self, code: int, reason: str) -> None:
        """Close, and wait a second for the peer to hear of it."""
        if not self.close_sent and not self.transport.is_closing():
            self.conn.fail(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self._cut_in(_LAST_WORDS_S)

    def _cut_in(self, seconds: float) -> None:
        if self._cut is None and not self.disconnected:
            self._cut = self.loop.call_later(seconds, self.line.abort)


def _is_text(pieces: Sequence[bytes]) -> bool:
    try:
        b"".join(pieces).decode()
    except UnicodeDecodeError:
        return False
    return True


def http(slow_reader_s: float, handshake_s: float) -> type[Http]:
    """The protocol of HTTP with this patience."""
    return type("PatientHttp", (Http,), {"slow_reader_s": slow_reader_s, "handshake_s": handshake_s})


def socket(slow_reader_s: float, pings_per_s: float) -> type[Socket]:
    """The protocol of WebSockets with this patience."""
    return type("PatientSocket", (Socket,), {"slow_reader_s": slow_reader_s, "pings_per_s": pings_per_s})
