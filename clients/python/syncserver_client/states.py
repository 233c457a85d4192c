"""Where the client stands, who watches it, and the error that stopped it."""

from __future__ import annotations

import asyncio

from syncserver_client.errors import SyncError
from syncserver_client.model import State
from syncserver_client.watch import Watch, Watches

REMEMBERED = 64  # states kept for a watcher that does not read; older ones no longer matter
StateWatch = Watch[State]


class States:
    """The present state; whether everything was held once; the error that ended it all."""

    def __init__(self) -> None:
        self.current = State.CONNECTING
        self.error: SyncError | None = None
        self._first_ready = asyncio.Event()
        self._watches: Watches[State] = Watches(REMEMBERED)

    def become(self, state: State) -> None:
        """Enter `state`; being in it already is no news."""
        if state not in (State.CONNECTING, State.OFFLINE):
            self._first_ready.set()
        if state is not self.current:
            self.current = state
            self._watches.offer(state)

    def watch(self) -> StateWatch:
        """A new watcher; nothing needs to be closed."""
        return self._watches.watch([self.current])

    def end(self, error: SyncError) -> None:
        """The client stopped: offline for good."""
        self.error = self.error or error
        self.become(State.OFFLINE)
        self._first_ready.set()
        self._watches.end()

    async def ready(self) -> None:
        """Wait until everything was held once; raises what stopped the client."""
        await self._first_ready.wait()
        if self.error is not None:
            raise self.error
