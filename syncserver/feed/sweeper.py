"""The poll that always runs: a lost doorbell costs seconds, never an event.

Each sweep compares the heads of watched channels with what was published, and the log's epoch with the one known.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from syncserver.core.errors import Unavailable

log = logging.getLogger(__name__)


class Sweeper:
    """`watched` gives positions, `read` the epoch and the heads, `ring` reads a channel, `moved` hears of an epoch.

    `swept_at` is when the last sweep saw the database: up to then the hub's positions are known to be true.
    """

    def __init__(
        self,
        *,
        every_s: float,
        now: Callable[[], datetime],
        watched: Callable[[], dict[str, int]],
        read: Callable[[Sequence[str]], Awaitable[tuple[str, dict[str, int]]]],
        ring: Callable[[str], None],
        moved: Callable[[str], None],
    ) -> None:
        self._every_s = every_s
        self._now = now
        self._watched = watched
        self._read = read
        self._ring = ring
        self._moved = moved
        self._asked = asyncio.Event()
        self.swept_at: datetime | None = None

    def soon(self) -> None:
        """Sweep now rather than at the next turn."""
        self._asked.set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep()
            except Unavailable:
                log.warning("the sweep found no database; trying again")
            try:
                async with asyncio.timeout(self._every_s):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()

    async def sweep(self) -> None:
        """Ring every watched channel whose head is not where its news ended."""
        positions = self._watched()
        began = self._now()
        epoch, heads = await self._read(list(positions))
        self._moved(epoch)
        for owner, position in positions.items():
            if heads.get(owner, 0) != position:
                self._ring(owner)
        self.swept_at = began
