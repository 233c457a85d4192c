"""What goes out to one peer: a bounded queue in memory, and one task that writes.

Nothing here buffers for a peer that does not read: the queue refuses, and the log is read again later.
"""

import asyncio
from collections.abc import Awaitable, Callable

from syncserver.core import encode, frames
from syncserver.engine.wire import Ended
from syncserver.hub.writer import Writer

_LAST_WORDS_S = 1.0


class Outgoing:
    """`send` writes a frame, waiting while the peer reads nothing; `abort` cuts the line."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], abort: Callable[[], None]) -> None:
        self.send = send
        self._abort = abort
        self._writer = Writer()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._ending: tuple[int, str] | None = None
        self._last_words: asyncio.TimerHandle | None = None

    def offer(self, frame: bytes) -> bool:
        """Queue a frame without waiting; False when there is no room."""
        taken = self._writer.offer(frame)
        self._wake.set()
        return taken

    async def answer(self, frame: bytes) -> None:
        """Queue an answer, waiting for room: a peer that does not read its answers is not read from either."""
        while not self.offer(frame):
            self._room.clear()
            await self._room.wait()

    def wake(self) -> None:
        """Let the task that writes look again for what there is to do."""
        self._wake.set()

    async def woken(self, until: float) -> None:
        """Wait until there is something to do, or until this time of the loop."""
        try:
            async with asyncio.timeout_at(until):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def flush(self) -> None:
        """Write all that is due; raises Ended when after that there is nothing more to say."""
        while (frame := self._writer.take()) is not None:
            self._room.set()
            await self.send(frame)
        if self._ending is not None:
            raise Ended(*self._ending)

    def goodbye(self, code: int, reason: str, retry_after_s: float | None = None) -> None:
        """End after what is due was written, or within a second if it cannot be; the first reason stays."""
        if self._ending is not None:
            return
        if retry_after_s is not None:
            self._writer.offer(encode.frame(frames.Goodbye(code=code, retry_after_s=retry_after_s)))
        self._ending = (code, reason)
        self._last_words = asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._abort)
        self._wake.set()

    def closed(self) -> None:
        """It has ended: nobody needs to be cut."""
        if self._last_words is not None:
            self._last_words.cancel()
