"""An eye on a peer that takes nothing for now: who takes anything within the time is slow, and left alone."""

import asyncio
from collections.abc import Callable

from syncserver.transports.line import Line

_LOOKS = 6


class Watch:
    """From when the kernel took no more, until `rest`. `stalled()`: the peer took nothing for `slow_reader_s`."""

    __slots__ = ("_line", "_look", "_slow_reader_s", "_stalled")

    def __init__(self, line: Line, slow_reader_s: float, stalled: Callable[[], None]) -> None:
        self._line = line
        self._slow_reader_s = slow_reader_s
        self._stalled = stalled
        self._look = self._again(line.pending_bytes(), asyncio.get_running_loop().time())

    def rest(self) -> None:
        """There is nothing to watch any more."""
        self._look.cancel()

    def _again(self, least_bytes: int, since: float) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        return loop.call_later(self._slow_reader_s / _LOOKS, self._looked, least_bytes, since)

    def _looked(self, least_bytes: int, since: float) -> None:
        pending, now = self._line.pending_bytes(), asyncio.get_running_loop().time()
        if pending < least_bytes:
            self._look = self._again(pending, now)
        elif now - since < self._slow_reader_s:
            self._look = self._again(least_bytes, since)
        else:
            self._stalled()
