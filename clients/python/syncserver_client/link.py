"""The client's one loop: keep in touch by the best transport that works, and look for a better one meanwhile.

Every round ends with an error that says why, and the next one begins after a pause. Changes come out the same way
whichever transport brought them, from the same cursor.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from syncserver_client.by_poll import ByLongPoll, ByPoll
from syncserver_client.by_socket import BySocket
from syncserver_client.by_stream import ByStream
from syncserver_client.errors import Transient
from syncserver_client.ladder import Ladder, Next
from syncserver_client.model import State
from syncserver_client.search import REFUSED_FOR_LONG, Search
from syncserver_client.settings import LONG_POLL, POLL, SOCKET, STREAM
from syncserver_client.socket import LiveSocket
from syncserver_client.states import States
from syncserver_client.way import Parts, Way

WAYS: dict[str, Callable[[Parts], Way]] = {SOCKET: BySocket, STREAM: ByStream, LONG_POLL: ByLongPoll, POLL: ByPoll}


class Link:
    """Run `run` as a task; Fatal ends it. `up`: caught up, so that writes may go; `socket`: by this one, if any."""

    def __init__(self, parts: Parts, states: States, changed: Callable[[], None] = lambda: None) -> None:
        self._parts = replace(parts, up=self._caught_up)
        self._states = states
        self._changed = changed  # called whenever `socket` is another
        self._ladder = Ladder(parts.settings.transports)
        self._backoff = parts.settings.backoff()
        self._wake = asyncio.Event()
        self._hurry = self._look = self._anew = False
        self._found: Way | None = None
        self._lost = Transient("cut")  # why a better transport could not be had
        self.up = False
        self.socket: LiveSocket | None = None

    def network_changed(self) -> None:
        """Whatever is being waited for, try now; what seems to work, see whether it does."""
        self._hurry = True
        self._wake.set()

    def refetch(self) -> None:
        """What is held is wrong: fetch it all again, by whichever transport."""
        self._anew = True
        self._wake.set()

    async def run(self) -> None:
        """Keep in touch, for ever."""
        try:
            while True:
                try:
                    await self._along(self._next_way())
                except Transient as lost:
                    await self._after(lost)
        finally:
            if self._found is not None:
                await self._found.close()

    def _next_way(self) -> Way:
        if self._anew:
            self._anew = False
            self._parts.mirror.refetch()
        return self._found or WAYS[self._ladder.name](self._parts)

    async def _along(self, way: Way) -> None:
        """Use a transport until it is lost, or until another is to be used: a better one (`_found`), or a new one."""
        search = Search(self._parts.settings, self._better, self._wake.set)
        search.later(self._lost)
        if self._look:
            self._look = False
            search.now()
        work = asyncio.create_task(_used(way, opened=way is self._found))
        work.add_done_callback(self._ended)
        self._found = None
        try:
            while not work.done() and not self._anew:
                if self._hurry:
                    self._hurry = False
                    self._look = not way.network_changed()
                    if self._look:
                        return  # to the same one, opened again
                    search.now()
                self._found = await self._interlude(search)
                if self._found is not None:
                    self._ladder.stand(self._found.name)
                    return
            if work.done():
                work.result()
        finally:
            await self._leave(way, work, search)

    def _ended(self, work: asyncio.Task[None]) -> None:
        self._wake.set()
        if not work.cancelled():
            work.exception()  # looked at, whether or not somebody is left to hear of it

    async def _leave(self, way: Way, work: asyncio.Task[None], search: Search) -> None:
        """After this nothing of it is left, whatever interrupts."""
        self.up = False
        if self.socket is not None:
            self.socket = None
            self._changed()
        self._parts.outbox.cut()
        work.cancel()
        try:
            await asyncio.wait({work})
            await search.stop()
        finally:
            await way.close()

    async def _interlude(self, search: Search) -> Way | None:
        """Wait until something happens; a better transport, if one was found."""
        if self._ladder.better:
            search.begin_if_due()
        await self._pause(search.due_in() if self._ladder.better else math.inf)
        try:
            return search.result()
        except Transient as lost:
            search.later(lost)
            return None

    async def _better(self) -> Way:
        """The best transport above the one in use that can be opened; else why not."""
        refusal = None
        for name in self._ladder.better:
            way = WAYS[name](self._parts)
            try:
                await way.open()
            except Transient as lost:
                if refusal is None or lost.code not in REFUSED_FOR_LONG:
                    refusal = lost
            else:
                return way
        raise refusal or self._lost

    async def _after(self, lost: Transient) -> None:
        """A transport could not be had, or ended: go where the ladder says."""
        self._wake.clear()
        self._parts.problems.report(lost.code, "the connection failed")
        if not self._ladder.better:
            self._lost = lost
        step = self._ladder.failed(lost.code)
        if step is Next.DOWN:
            return
        if step is Next.REST:
            self._states.become(State.OFFLINE)
        elif self._states.current is not State.OFFLINE:
            self._states.become(State.CONNECTING)
        if not self._hurry:
            await self._pause(self._backoff.next_s(lost.retry_after_s))
        if self._hurry:
            self._hurry = False
            self._ladder.top()

    def _caught_up(self, state: State, socket: LiveSocket | None) -> None:
        """What a transport says when all is held: at first, and as often as it likes."""
        self._ladder.worked()
        self._backoff.reset()
        if not self.up:
            self.up = True
            self._parts.problems.recovered()
            self.socket = socket
            self._states.become(state)
            self._parts.outbox.cut()
            self._changed()
        self._parts.outbox.stirred.set()

    async def _pause(self, seconds: float) -> None:
        """Wait; less if something happens."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None if math.isinf(seconds) else seconds):
                await self._wake.wait()
        self._wake.clear()


async def _used(way: Way, *, opened: bool) -> None:
    if not opened:
        await way.open()
    await way.run()
