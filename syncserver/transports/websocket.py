"""A device's socket (RFC 6455): frames in, frames out, with a connection behind it and nothing between.

There is no task, no queue and no copy for each socket: messages go to the connection as they come, and what it says is
written to the line at once. What the peer does not take is bounded, and who takes nothing for too long is cut.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from websockets.exceptions import ProtocolError
from websockets.frames import Close

from syncserver.core import address, origin
from syncserver.core.bucket import Bucket
from syncserver.engine.pulse import Pulse
from syncserver.engine.shown import Cookie
from syncserver.transports import reader, upgrade
from syncserver.transports.line import Line
from syncserver.transports.reader import Fault, Reader
from syncserver.transports.upgrade import Trusted
from syncserver.transports.watch import Watch

_SLOW_READER = 4002
_RATE_LIMITED = 4003
_AWAY = 1011
_RESTART = 1012
_BURST = 4
_NO_COOKIE = Cookie()
_LAST_WORDS_S = 1.0
_CLOSING_S = 5.0
_PING = reader.frame(reader.PING, b"")
_HEAD, _OPEN, _CLOSING, _ENDED = range(4)
"""What is awaited of a peer: its request, its frames, its close after ours, nothing any more."""


class Behind(Protocol):
    """Who is behind a socket. Nothing here waits or raises."""

    def begin(self) -> None:
        """The socket is open."""

    def received(self, message: str | bytes) -> None:
        """A message came."""

    def resumed(self) -> None:
        """The peer takes more."""

    def lost(self) -> None:
        """The peer says no more; this may be called again."""


@dataclass(eq=False)
class Rules:
    """What all sockets of a server share. `connect`: makes what stands behind each of them.

    `slow_reader_s`: how long a peer may take nothing of what waits for it. `pings_per_s`: how many of them a peer may
    send (0: any number). A peer is asked each `ping_s` whether it is there, and has `pong_s` to answer. `trusted`:
    where a peer is, behind proxies. `origins`: of which other web pages may connect; `cookie`: which may hold a token.
    """

    connect: Callable[["Socket"], Behind]
    origins: Collection[str] = ()
    cookie: Cookie = _NO_COOKIE
    frame_bytes: int = 1_048_576
    most_pieces: int = 4_096
    slow_reader_s: float = 30
    pings_per_s: float = 50
    ping_s: float = 10
    pong_s: float = 15
    trusted: Trusted = lambda host, _forwarded: host

    def __post_init__(self) -> None:
        """One timer asks for all. `connections`: who is told when the server ends."""
        self.connections: set[object] = set()
        self.pulse = Pulse(min(self.ping_s, self.pong_s) / 2)


class Socket(asyncio.Protocol):
    """From the head of the request to the end of the line. It is its connection's wire (see engine.wire)."""

    __slots__ = (
        "_asked_at",
        "_awaited",
        "_connection",
        "_cut",
        "_headers",
        "_held",
        "_pending_at_ping",
        "_pinged_at",
        "_pings",
        "_pong",
        "_reader",
        "_rules",
        "_transport",
        "_watch",
        "address",
        "blocked",
        "foreign",
    )

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._transport: asyncio.Transport
        self._connection: Behind | None = None
        self._awaited = _HEAD
        self._reader: Reader
        self._headers: Mapping[str, str] = {}
        self._asked_at = 0.0
        self._pinged_at = 0.0
        self._pending_at_ping = 0
        self._pings: Bucket | None = None
        self._pong: bytes | None = None
        self._watch: Watch | None = None
        self._cut: asyncio.TimerHandle | None = None
        self._held = False
        self.blocked = False
        self.address: str | None = None
        self.foreign = False

    # -- the line (see asyncio.Protocol) -------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The line is ours; a head is next."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(0)
        self._rules.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Nobody is there any more."""
        self._rules.connections.discard(self)
        self._rules.pulse.leave(self)
        if self._watch is not None:
            self._watch.rest()
            self._watch = None
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
        if self._connection is not None:
            self._connection.lost()
            self._connection = None

    def data_received(self, data: bytes) -> None:
        """First a head, in whole; then frames."""
        if self._awaited == _HEAD:
            head, end, rest = data.partition(upgrade.END)
            self._upgrade(head + end, rest)
            return
        if self._awaited == _ENDED:
            return
        try:
            for opcode, message in self._reader.read(data):
                self._took(opcode, message)
        except Fault as fault:
            self._fail(fault.code, fault.reason)

    def pause_writing(self) -> None:
        """The kernel takes no more for now: begin to watch."""
        self.blocked = True
        self._watch = Watch(Line(self._transport), self._rules.slow_reader_s, self._stalled)

    def resume_writing(self) -> None:
        """Everything was taken."""
        self.blocked = False
        if self._watch is not None:
            self._watch.rest()
            self._watch = None
        if self._pong is not None and self._is_open():
            self._transport.write(self._pong)
        self._pong = None
        if self._connection is not None:
            self._connection.resumed()

    def shutdown(self) -> None:
        """The server ends."""
        self.close(_RESTART, "the server restarts")
        self._transport.close()

    # -- the wire (see engine.wire) ------------------------------------------

    @staticmethod
    def form(frame: bytes) -> bytes:
        """A text frame."""
        return reader.frame(reader.TEXT, frame)

    def write(self, pieces: list[bytes]) -> None:
        """Frames only, and none after a close."""
        if self._awaited == _OPEN and not self._transport.is_closing():
            self._transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def close(self, code: int, reason: str) -> None:
        """Say it; the peer has a few seconds to take it and to close."""
        if self._is_open():
            self._say_close(Close(code, reason).serialize())
            self._awaited = _CLOSING
        self._cut_in(_CLOSING_S)

    def abort(self) -> None:
        """Cut the line."""
        self._transport.abort()

    def hold(self) -> None:
        """Read no more for now."""
        if not self._held and not self._transport.is_closing():
            self._held = True
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if self._held and not self._transport.is_closing():
            self._held = False
            self._transport.resume_reading()

    def cookie(self) -> str | None:
        """The token that the upgrade brought in a cookie."""
        return self._rules.cookie.of_socket(self._headers)

    # -- the upgrade ---------------------------------------------------------

    def _upgrade(self, head: bytes, rest: bytes) -> None:
        judged = upgrade.judged(head)
        self._transport.write(judged.answer)
        if judged.headers is None:
            self._transport.close()
            return
        self._known(judged.headers)
        self._reader = Reader(self._rules.frame_bytes, self._rules.most_pieces)
        self._awaited = _OPEN
        self._pinged_at = asyncio.get_running_loop().time()
        self._rules.pulse.join(self)
        self._connection = self._rules.connect(self)
        self._connection.begin()
        if rest:
            self.data_received(rest)

    def _known(self, headers: Mapping[str, str]) -> None:
        """What the head says of the peer."""
        rules, peer = self._rules, self._transport.get_extra_info("peername")
        host = peer[0] if isinstance(peer, tuple) else None
        self.address = address.name(rules.trusted(host, headers.get("x-forwarded-for")))
        self.foreign = not origin.let_in(headers.get("origin"), headers.get("host"), rules.origins)
        if "cookie" in headers:
            self._headers = headers

    # -- frames --------------------------------------------------------------

    def _took(self, opcode: int, message: str | bytes) -> None:
        if opcode == reader.CLOSE:
            self._closed(cast("bytes", message))
        elif self._awaited != _OPEN:
            return
        elif opcode == reader.PING:
            self._pinged(cast("bytes", message))
        elif opcode == reader.PONG:
            self._asked_at = 0.0
        elif self._connection is not None:
            self._connection.received(message)

    def _pinged(self, payload: bytes) -> None:
        """A peer may ask only so often, and where it does not read, only its latest ping is answered."""
        if self._rules.pings_per_s:
            self._pings = self._pings or Bucket(self._rules.pings_per_s, self._rules.pings_per_s * _BURST)
            if self._pings.take(asyncio.get_running_loop().time()):
                self._fail(_RATE_LIMITED, "too many pings in too short a time")
                return
        pong = reader.frame(reader.PONG, payload)
        if self.blocked:
            self._pong = pong
        else:
            self._transport.write(pong)

    def _closed(self, said: bytes) -> None:
        """The peer closes: it hears its own words."""
        try:
            Close.parse(said)
        except ProtocolError:
            self._fail(reader.PROTOCOL_ERROR, "a close that is none")
        except UnicodeDecodeError:
            self._fail(reader.NO_TEXT, "a reason that is no UTF-8")
        else:
            self._end(said)

    def _fail(self, code: int, reason: str) -> None:
        """Close, and wait a second for the peer to hear of it."""
        self._end(Close(code, reason).serialize())

    def _end(self, said: bytes) -> None:
        """Say this, if nothing like it was said before; nothing that comes is looked at any more."""
        if self._is_open():
            self._say_close(said)
        if not self._transport.is_closing():
            self._transport.write_eof()
        self._awaited = _ENDED
        self._cut_in(_LAST_WORDS_S)
        if self._connection is not None:
            self._connection.lost()

    def _say_close(self, said: bytes) -> None:
        self._transport.write(reader.frame(reader.CLOSE, said))

    # -- whether somebody is there -------------------------------------------

    def beat(self) -> None:
        """Time to ask, or to see that no answer came."""
        now = asyncio.get_running_loop().time()
        if self._asked_at and now - self._asked_at >= self._rules.pong_s:
            self._silent(now)
        elif not self._asked_at and now - self._pinged_at >= self._rules.ping_s and self._is_open():
            self._transport.write(_PING)
            self._asked_at = self._pinged_at = now
            self._pending_at_ping = Line(self._transport).pending_bytes()

    def _silent(self, now: float) -> None:
        """No answer came: gone, unless the peer is still at work on what was sent before, or watched already."""
        pending = Line(self._transport).pending_bytes()
        if 0 < pending < self._pending_at_ping or self.blocked:
            self._pending_at_ping, self._asked_at = pending, now
        else:
            self._fail(_AWAY, "no answer to a ping")

    def _stalled(self) -> None:
        """Say why, for a peer that wakes up this very second; then cut the line."""
        self._fail(_SLOW_READER, "nothing was read for too long")

    def _is_open(self) -> bool:
        return self._awaited == _OPEN and not self._transport.is_closing()

    def _cut_in(self, seconds: float) -> None:
        if self._cut is None and not self._transport.is_closing():
            self._cut = asyncio.get_running_loop().call_later(seconds, self.abort)
