"""The log read for everybody who is behind: all who wait are read for together, in one statement and from one snapshot.

Who has more to read than a page stands at the end of the queue again, so a storm of devices that come back is served in
turn, and nobody waits for one that has missed much.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from syncserver.core.change import Page
from syncserver.core.cursor import Cursor
from syncserver.core.errors import Refetch
from syncserver.hub.news import Wanted
from syncserver.storage import changes

_OWNERS = 100
_ROWS = 4_000
"""What one statement gives at most, about: as long as it is decoded, nobody else is served."""
_FEWEST_ROWS = 40


class Reader(Protocol):
    """Who asked."""

    def paged(self, asked: "Asked", page: Page) -> None:
        """What was asked for."""

    def failed(self, asked: "Asked", error: Exception) -> None:
        """It could not be had: Refetch, Unavailable, or a fault."""


@dataclass(eq=False, slots=True)
class Asked:
    """A page of the owner's log after the cursor (None: from nothing), with these resources."""

    reader: Reader
    owner: str
    cursor: Cursor | None
    wanted: Wanted

    @property
    def after(self) -> int:
        """The offset after which to read."""
        return self.cursor.offset if self.cursor is not None else 0


class Pages(Protocol):
    """The read: a page for each of these owners, after these offsets, from one snapshot."""

    def __call__(  # noqa: D102 - as the class says
        self, after: Mapping[str, int], resources: Collection[str] | None, limit: int
    ) -> Awaitable[Mapping[str, Page]]: ...


class Catchup:
    """The queue. `width`: how many statements are under way at once."""

    def __init__(self, pages: Pages, *, width: int = 3) -> None:
        self._pages = pages
        self._width = width
        self._queue: deque[Asked] = deque()
        self._works: set[asyncio.Task[None] | None] = set()

    def ask(self, asked: Asked) -> None:
        """Read this in its turn; the reader is told, but never before this returns."""
        self._queue.append(asked)
        if len(self._works) < self._width:
            self._works.add(asyncio.create_task(self._work()))

    async def _work(self) -> None:
        """One of those who read, until nobody waits any more: then it is none of them at that very moment."""
        try:
            await self._read_all()
        finally:
            self._works.discard(asyncio.current_task())

    async def _read_all(self) -> None:
        while self._queue:
            batch = self._batch()
            try:
                found = await self._read(batch)
            except Exception as error:  # noqa: BLE001 - whatever it was, those who wait are told
                for asked in batch:
                    asked.reader.failed(asked, error)
                continue
            for asked in batch:
                _answer(asked, found[asked.owner])

    async def _read(self, batch: list[Asked]) -> Mapping[str, Page]:
        after = {asked.owner: asked.after for asked in batch}
        limit = min(changes.PAGE_ROWS, max(_FEWEST_ROWS, _ROWS // len(after)))
        return await self._pages(after, batch[0].wanted, limit)

    def _batch(self) -> list[Asked]:
        """Who goes along with the first: those that want the same resources, of each owner from one place only."""
        first, passed = self._queue.popleft(), deque[Asked]()
        batch, after = [first], {first.owner: first.after}
        while self._queue and len(after) < _OWNERS and len(passed) < _OWNERS:
            asked = self._queue.popleft()
            if asked.wanted == first.wanted and after.setdefault(asked.owner, asked.after) == asked.after:
                batch.append(asked)
            else:
                passed.append(asked)
        self._queue.extendleft(reversed(passed))
        return batch


def _answer(asked: Asked, page: Page) -> None:
    cursor = asked.cursor
    try:
        if cursor is not None:
            cursor.check(page.epoch, asked.owner, page.floor, page.head)
    except Refetch as error:
        asked.reader.failed(asked, error)
        return
    asked.reader.paged(asked, page._replace(began=cursor.began if cursor and cursor.offset else page.floor))
