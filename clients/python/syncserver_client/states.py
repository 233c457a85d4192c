"""Where the client stands, who watches it, and the error that stopped it."""

from __future__ import annotations

import asyncio
from collections import deque
from weakref import WeakSet

from syncserver_client.errors import SyncError
from syncserver_client.model import State

REMEMBERED = 64  # states kept for a watcher that does not read; older ones no longer matter


class StateWatch:
    """An async iterator: the present state, then each new one. Ends with the client."""

    def __init__(self, first: State) -> None:
        self._unread: deque[State] = deque([first], REMEMBERED)
        self._news = asyncio.Event()
        self._ended = False

    def offer(self, state: State) -> None:
        """Add a state."""
        self._unread.append(state)
        self._news.set()

    def end(self) -> None:
        """No more will come."""
        self._ended = True
        self._news.set()

    def __aiter__(self) -> StateWatch:
        return self

    async def __anext__(self) -> State:
        while not self._unread:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._unread.popleft()


class States:
    """The present state; whether everything was held once; the error that ended it all."""

    def __init__(self) -> None:
        self.current = State.CONNECTING
        self.error: SyncError | None = None
        self._first_ready = asyncio.Event()
        self._watches: WeakSet[StateWatch] = WeakSet()

    def become(self, state: State) -> None:
        """Enter `state`; being in it already is no news."""
        if state in (State.LIVE, State.POLLING):
            self._first_ready.set()
        if state is not self.current:
            self.current = state
            for watch in tuple(self._watches):
                watch.offer(state)

    def watch(self) -> StateWatch:
        """A new watcher; nothing needs to be closed."""
        watch = StateWatch(self.current)
        if self.error is not None:
            watch.end()
        self._watches.add(watch)
        return watch

    def end(self, error: SyncError) -> None:
        """The client stopped: offline for good."""
        self.error = self.error or error
        self.become(State.OFFLINE)
        self._first_ready.set()
        for watch in tuple(self._watches):
            watch.end()

    async def ready(self) -> None:
        """Wait until everything was held once; raises what stopped the client."""
        await self._first_ready.wait()
        if self.error is not None:
            raise self.error
