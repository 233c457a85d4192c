"""uvicorn's HTTP, with an eye on each line: what a peer does not take is bounded, and who takes nothing is cut.

A write buffer of none in this process means that a sender waits as soon as the kernel's (see `server.bound`) is full.
Who takes anything at all within the time is slow, not gone, and is left alone. Who takes its time with the head of a
request, or with what is left of a body that was answered already, is cut too.
"""

import asyncio
from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from syncserver.transports.line import KEY, Line
from syncserver.transports.watch import Watch

_CAN_ANSWER = (h11.IDLE, h11.SEND_RESPONSE)


class Http(H11Protocol):
    """HTTP and the streams in it. `slow_reader_s`: how long a peer may take nothing of what waits for it.

    `handshake_s`: how long the head of a request may take (0: for ever).
    """

    slow_reader_s: float = 30
    handshake_s: float = 10
    line: Line
    _watch: Watch | None = None
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound its buffer, and give the application its line. The first head is due."""
        carrier = cast("asyncio.Transport", transport)
        carrier.set_write_buffer_limits(0)
        self.line = Line(carrier)
        self.app_state = {**self.app_state, KEY: self.line}
        super().connection_made(carrier)
        self._expect(something=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """There is nothing to watch, and nothing due, any more."""
        self._rest()
        self._expect(something=False)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The kernel takes no more for now: begin to watch."""
        super().pause_writing()
        self._rest()
        self._watch = Watch(self.line, self.slow_reader_s, self.stalled)

    def resume_writing(self) -> None:
        """Everything was taken."""
        self._rest()
        super().resume_writing()

    def stalled(self) -> None:
        """The peer took nothing for too long."""
        self.line.abort()

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

    def _rest(self) -> None:
        if self._watch is not None:
            self._watch.rest()
            self._watch = None


def http(slow_reader_s: float, handshake_s: float) -> type[Http]:
    """The protocol of HTTP with this patience."""
    return type("PatientHttp", (Http,), {"slow_reader_s": slow_reader_s, "handshake_s": handshake_s})
