"""One device's network: a TCP relay to the server that can be cut, as abruptly as a tunnel cuts a train's, or stall."""

import asyncio
from collections.abc import Callable
from typing import Literal, cast

Way = Literal["device", "server"]
"""Whose bytes."""


class Tunnel:
    """Between `open` and `close` it listens on `url`. Cut, it drops what is under way and lets nobody through."""

    def __init__(self, host: str, port: int) -> None:
        self.there = True
        self.url = ""
        self._to = (host, port)
        self._sides: set[_Side] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None
        self._tripped: Callable[[], None] | None = None
        self._held: frozenset[Way] = frozenset()

    async def open(self) -> None:
        """Listen on a free port."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: _Side(self, None), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """No network from now on; bytes on their way are gone."""
        self.there = False
        for side in tuple(self._sides):
            side.transport.abort()

    def mend(self) -> None:
        """The network is there again."""
        self.there = True

    def hold(self, *ways: Way) -> None:
        """Read nothing that comes from there, so that its sender has to wait, until `flow`; new connections too."""
        self._held = frozenset(ways)
        for side in tuple(self._sides):
            self._as_held(side)

    def flow(self) -> None:
        """What was held goes on."""
        self.hold()

    def trip(self, then: Callable[[], None]) -> None:
        """Instead of passing on what the server says next, call `then`, which cuts."""
        self._tripped = then

    def swallows(self) -> bool:
        """Whether what the server says now is what gets lost."""
        then, self._tripped = self._tripped, None
        if then is not None:
            then()
        return then is not None

    async def close(self) -> None:
        """End all, and wait for it."""
        if self._listening is not None:
            self._listening.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def joined(self, side: "_Side") -> None:
        """A connection began: at the device's end it still needs its other half."""
        self._sides.add(side)
        self._as_held(side)
        if side.other is None:
            task = asyncio.create_task(self._reach(side))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def left(self, side: "_Side") -> None:
        """A connection ended."""
        self._sides.discard(side)

    def _as_held(self, side: "_Side") -> None:
        if side.way in self._held:
            side.wait("held")
        else:
            side.go_on("held")

    async def _reach(self, near: "_Side") -> None:
        if not self.there:
            near.transport.abort()
            return
        try:
            _, far = await asyncio.get_running_loop().create_connection(lambda: _Side(self, near), *self._to)
        except OSError:
            near.transport.abort()
            return
        near.other = far
        if near.transport.is_closing() or not self.there:
            far.transport.abort()
            near.transport.abort()
        else:
            near.go_on("reached")


class _Side(asyncio.Protocol):
    """One of the two connections; what it receives the other sends."""

    def __init__(self, tunnel: Tunnel, other: "_Side | None") -> None:
        self._tunnel = tunnel
        self.way: Way = "device" if other is None else "server"
        self.other = other
        self._waits: set[str] = set()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.other is None:
            self.wait("reached")
        self._tunnel.joined(self)

    def wait(self, why: str) -> None:
        """Read no more, until every reason for that is gone."""
        self._waits.add(why)
        self.transport.pause_reading()

    def go_on(self, why: str) -> None:
        """One reason is gone."""
        self._waits.discard(why)
        if not self._waits:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self.other is not None and not (self.way == "server" and self._tunnel.swallows()):
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.wait("full")

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.go_on("full")

    def connection_lost(self, _error: Exception | None) -> None:
        self._tunnel.left(self)
        if self.other is not None:
            self.other.transport.close()
