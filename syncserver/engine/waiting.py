"""Long-poll: one answer, given when there is news, or at the end of the wait. A waiter holds no database connection.

It is attached to the hub before it reads, so nothing falls between reading and waiting; news only wakes it, and what it
answers comes through the one read door.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime

from syncserver.core.actor import Actor
from syncserver.core.change import Page
from syncserver.core.cursor import Cursor
from syncserver.core.errors import Refetch, Unauthorised
from syncserver.engine.house import Guest, House
from syncserver.hub.news import Wanted
from syncserver.hub.subscription import Doorbell, Standing


@dataclass(frozen=True, slots=True)
class Query:
    """Which part of whose log: after the cursor (None: from nothing), only these resources, at most `limit` rows."""

    owner: str
    cursor: Cursor | None
    wanted: Wanted
    limit: int


Found = tuple[Page, datetime]
"""A page, and when it began to be read: as of then it is true."""


async def page(house: House, query: Query) -> Found:
    """The page after the cursor as it is now; raises Refetch, Unavailable."""
    read_at = house.now()
    return await house.pull.page(query.owner, query.cursor, query.wanted, query.limit), read_at


async def news(house: House, query: Query, wait_s: float, actor: Actor | None = None) -> Found:
    """The page after the cursor as soon as it has rows, else as it is after `wait_s`.

    While the server drains, it is answered at once. Raises Refetch, Unavailable, RateLimited.
    """
    waiter = _Waiter(house, query, asyncio.get_running_loop().time() + wait_s)
    guest = Guest(query.owner, waiter.goodbye, offer=lambda _frame: False, actor=actor, refuse=waiter.refuse)
    house.entered(guest)
    house.hub.attach(waiter.bell)
    try:
        return await waiter.found()
    finally:
        house.left(guest)
        house.hub.detach(waiter.bell)


class _Waiter:
    def __init__(self, house: House, query: Query, until: float) -> None:
        self._house = house
        self._query = query
        self._until = until
        self._woken = asyncio.Event()
        self._last = False
        self._refused: Unauthorised | None = None
        self.bell = Doorbell(query.owner, self._woken.set)

    def goodbye(self, code: int, reason: str, retry_after_s: float | None = None) -> None:  # noqa: ARG002 - see Goodbye
        self._last = True
        self._woken.set()

    def refuse(self, error: Unauthorised) -> None:
        self._refused = error
        self._woken.set()

    async def found(self) -> Found:
        page, read_at = await self._read(self._query)
        while not (page.changes or page.more or self._last):
            self.bell.offset = page.until
            if self._house.hub.go_live(self.bell):
                await self._news()
            page, read_at = await self._read(replace(self._query, cursor=page.cursor_until))
        return page, read_at

    async def _read(self, query: Query) -> Found:
        self._look_who_asks()
        try:
            async with self._house.reading:
                found = await page(self._house, query)
        except Refetch:
            self._look_who_asks()
            raise
        self._look_who_asks()
        if self.bell.standing is Standing.ENDED:
            raise Refetch(self.bell.refetch or "epoch")
        return found

    def _look_who_asks(self) -> None:
        """Raise Unauthorised where the key does not hold any more: that says more than what is read with it."""
        if self._refused is not None:
            raise self._refused

    async def _news(self) -> None:
        """Wait until the bell rings; at the end of the wait, the next page is the last."""
        try:
            async with asyncio.timeout_at(self._until):
                await self._woken.wait()
        except TimeoutError:
            self._last = True
        self._woken.clear()
