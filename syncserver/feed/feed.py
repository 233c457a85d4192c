"""From the log to the hub: reads, once for all owners whose doorbell rang, what is past their position.

While one read is under way, owners that ring wait together for the next: under load doorbells fold.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from itertools import islice

from syncserver.core.change import Page
from syncserver.core.errors import Unavailable

log = logging.getLogger(__name__)
_OWNERS_AT_ONCE = 500
_RETRY_S = 0.2


class Feed:
    """`watched` gives the positions of owners that somebody listens to, `read` their pages, `publish` passes one on.

    `refetch(owner, reason)` is called where the log is not the one read before; `doubt` then asks for a sweep, which
    tells everybody else, and this feed by `new_epoch`.
    """

    def __init__(
        self,
        *,
        watched: Callable[[Collection[str]], dict[str, int]],
        read: Callable[[Mapping[str, int]], Awaitable[dict[str, Page]]],
        publish: Callable[[Page], None],
        refetch: Callable[[str, str], None],
        doubt: Callable[[], None] = lambda: None,
    ) -> None:
        self._watched = watched
        self._read = read
        self._publish = publish
        self._refetch = refetch
        self._doubt = doubt
        self._rung: dict[str, None] = {}
        self._reading: Collection[str] = ()
        self._bell = asyncio.Event()
        self.epoch: str | None = None

    def ring(self, owner: str) -> None:
        """The owner's channel moved, or may have."""
        self._rung[owner] = None
        self._bell.set()

    def pending(self, owner: str) -> bool:
        """Whether a doorbell of this owner has not been answered yet."""
        return owner in self._rung or owner in self._reading

    async def run(self) -> None:
        """Read and publish until cancelled. An outage is waited out: who rang stays rung."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            self._reading = owners = set(islice(self._rung, _OWNERS_AT_ONCE))
            for owner in owners:
                del self._rung[owner]
            if self._rung:
                self._bell.set()
            await self._pass_on(owners)
            self._reading = ()

    async def _pass_on(self, owners: Collection[str]) -> None:
        positions = self._watched(owners)
        if not positions:
            return
        try:
            pages = await self._read(positions)
        except Unavailable:
            log.warning("the log cannot be read; trying again")
            await asyncio.sleep(_RETRY_S)
            for owner in owners:
                self.ring(owner)
            return
        for page in pages.values():
            self._pass_on_page(page)

    def _pass_on_page(self, page: Page) -> None:
        if self.epoch not in {None, page.epoch}:
            self._refetch(page.owner, "epoch")
            self._doubt()
        elif page.head < page.since:
            self._refetch(page.owner, "ahead")
        elif page.floor > page.since:
            self._refetch(page.owner, "floor")
        elif page.until > page.since:
            self._publish(page)
            if page.more:
                self.ring(page.owner)

    def new_epoch(self, epoch: str) -> bool:
        """Note the log's identity; True when it is another than before, so that everything read so far is void."""
        changed = self.epoch not in {None, epoch}
        self.epoch = epoch
        return changed
