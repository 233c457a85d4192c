"""uvicorn's protocols, with an eye on each line: what a peer does not take is bounded, and who takes nothing is cut.

A write buffer of none in this process means that a sender waits as soon as the kernel's (see `server.bound`) is full.
Who takes anything at all within the time is slow, not gone, and is left alone.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from syncserver.transports.line import KEY, Line

_LOOKS = 6
_SLOW_READER = 4002
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
    """HTTP and the streams in it."""


class Socket(Watched, WebSocketsSansIOProtocol):
    """A WebSocket. Its pongs are bounded too, and pings that wait behind much are waited for."""

    _cut: asyncio.TimerHandle | None = None
    _pong: bytes | None = None
    _pending_at_ping = 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is left to be cut."""
        if self._cut is not None:
            self._cut.cancel()
        super().connection_lost(exc)

    def stalled(self) -> None:
        """Say why, for a peer that wakes up this very second; then cut the line."""
        if not self.close_sent and not self.transport.is_closing():
            self.conn.fail(_SLOW_READER, "nothing was read for too long")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self._cut_in(_LAST_WORDS_S)

    def handle_ping(self) -> None:
        """Answer; of a peer that pings and does not read, only the latest ping is answered."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self._pong = b"".join(self.conn.data_to_send())

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

    def _cut_in(self, seconds: float) -> None:
        if self._cut is None and not self.disconnected:
            self._cut = self.loop.call_later(seconds, self.line.abort)


def http(slow_reader_s: float) -> type[Http]:
    """The protocol of HTTP with this patience."""
    return type("PatientHttp", (Http,), {"slow_reader_s": slow_reader_s})


def socket(slow_reader_s: float) -> type[Socket]:
    """The protocol of WebSockets with this patience."""
    return type("PatientSocket", (Socket,), {"slow_reader_s": slow_reader_s})
