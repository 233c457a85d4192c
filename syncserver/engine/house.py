"""What every connection of a process shares: the doors, the hub, the clock, and the list of who is here."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

from syncserver.core.actor import Actor
from syncserver.engine.pull import Pull
from syncserver.engine.push import Push
from syncserver.hub.hub import Hub

_REPLACED = 4004
_RESTART = 1012


Name = tuple[str, str]
"""Owner and client id: one client, of which only the newest connection stays."""


class Goodbye(Protocol):
    """How a connection is asked to close; with a retry time, the client is told when to come back."""

    def __call__(self, code: int, reason: str, retry_after_s: float | None = None) -> None: ...  # noqa: D102


class House:
    """`verify`: token to actor. `verified`: since when an owner's positions are known to be true (None: not known).

    `readers`: how many connections may read the log at once.
    """

    def __init__(
        self,
        *,
        push: Push,
        pull: Pull,
        hub: Hub,
        verify: Callable[[str], Actor],
        verified: Callable[[str], datetime | None],
        epoch: Callable[[], Awaitable[str]],
        now: Callable[[], datetime],
        heartbeat_s: float = 15,
        hello_timeout_s: float = 10,
        slow_reader_s: float = 30,
        readers: int = 6,
    ) -> None:
        self.push = push
        self.pull = pull
        self.hub = hub
        self.verify = verify
        self.verified = verified
        self.epoch = epoch
        self.now = now
        self.heartbeat_s = heartbeat_s
        self.hello_timeout_s = hello_timeout_s
        self.slow_reader_s = slow_reader_s
        self.reading = asyncio.Semaphore(readers)
        self._present: dict[Name, Goodbye] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = False

    def entered(self, name: Name, goodbye: Goodbye) -> None:
        """A hello was good; an older connection of the same client makes room."""
        older = self._present.get(name)
        self._present[name] = goodbye
        self._empty.clear()
        if older is not None:
            older(_REPLACED, "replaced by a newer connection of this client")
        if self.draining:
            _send_away(goodbye, 0)

    def left(self, name: Name, goodbye: Goodbye) -> None:
        """A connection is closed."""
        if self._present.get(name) == goodbye:
            del self._present[name]
        if not self._present:
            self._empty.set()

    def __len__(self) -> int:
        return len(self._present)

    async def drain(self, within_s: float, spread_s: float) -> None:
        """Tell everybody goodbye, with times to come back spread over `spread_s`, and wait until they are closed."""
        self.draining = True
        for goodbye in list(self._present.values()):
            _send_away(goodbye, spread_s)
        try:
            async with asyncio.timeout(within_s):
                await self._empty.wait()
        except TimeoutError:
            pass  # who does not read is closed by the transport


def _send_away(goodbye: Goodbye, spread_s: float) -> None:
    retry_after_s = round(0.2 + random.uniform(0, spread_s), 2)  # noqa: S311 - jitter, not a secret
    goodbye(_RESTART, "the server restarts", retry_after_s)
