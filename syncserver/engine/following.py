"""One peer's way along its owner's log: subscribed, catching up, live, or told to fetch again. Knows no transport.

`step` does one piece of reading; whoever owns the wire calls it whenever there is nothing due to be written.
"""

import asyncio

from syncserver.core import encode, frames
from syncserver.core.change import Page
from syncserver.core.cursor import Cursor
from syncserver.core.errors import Refetch, Unavailable
from syncserver.engine.house import House
from syncserver.engine.outgoing import Outgoing
from syncserver.hub.news import Wanted
from syncserver.hub.subscription import Standing, Subscription

_RETRY_READ_S = 0.5


class Following:
    """At most one subscription at a time; what comes of it goes to `out`."""

    def __init__(self, house: House, owner: str, out: Outgoing) -> None:
        self._house = house
        self._owner = owner
        self._out = out
        self._subscription: Subscription | None = None
        self._cursor: Cursor | None = None

    async def begin(self, wanted: Wanted, cursor: Cursor | None) -> None:
        """Follow from here (None: from nothing), in place of what was followed before; raises Refetch, Unavailable."""
        self.end()
        page = await self._house.pull.page(self._owner, cursor, wanted, limit=1)
        self._subscription = Subscription(self._owner, wanted, page.since, self._out.offer, self._out.wake)
        self._cursor = page.cursor_since
        self._house.hub.attach(self._subscription)
        self._out.wake()

    def end(self) -> None:
        """Follow nothing any more."""
        if self._subscription is not None:
            self._house.hub.detach(self._subscription)
            self._subscription.end()
            self._subscription = None

    @property
    def cursor(self) -> Cursor | None:
        """How far what went to `out` leads; None where nothing is followed."""
        if self._subscription is None or self._cursor is None:
            return None
        return Cursor.at(self._cursor.epoch, self._owner, self._subscription.offset, self._cursor.began)

    async def step(self) -> bool:
        """Read a page of the log if the subscription is behind; False when there is nothing to do."""
        subscription = self._subscription
        if subscription is None or subscription.standing is Standing.LIVE:
            return False
        if subscription.standing is Standing.ENDED:
            reason = subscription.refetch or "ended"
            self.end()
            await self._out.send(encode.frame(frames.RefetchFrame(reason=reason)))
            return True
        try:
            await self._read_on(subscription)
        except Refetch as error:
            subscription.end(error.reason)
        except Unavailable:
            await asyncio.sleep(_RETRY_READ_S)
        return True

    async def _read_on(self, subscription: Subscription) -> None:
        async with self._house.reading:
            page = await self._house.pull.page(self._owner, self.cursor, subscription.wanted)
        if subscription is not self._subscription or subscription.standing is not Standing.CATCHING_UP:
            return
        subscription.offset = page.until
        self._cursor = page.cursor_until
        live = not page.more and self._house.hub.go_live(subscription)
        await self._show(page, live=live)

    async def _show(self, page: Page, *, live: bool) -> None:
        now = self._house.now()
        if page.until > page.since:
            await self._out.send(encode.changes(page, page.changes))
        if live:
            await self._out.send(encode.ready(str(page.cursor_until), now))

    def still_ready(self) -> None:
        """Say again how far the peer holds everything, as of when the database was last seen to agree."""
        cursor = self.cursor
        if cursor is None or self._subscription is None or self._subscription.standing is not Standing.LIVE:
            return
        verified = self._house.verified(self._owner)
        if verified is not None:
            self._out.offer(encode.ready(str(cursor), verified))


async def deliver(house: House, out: Outgoing, following: Following, beat: bytes | None = None) -> None:
    """Write what is due and follow the log, until the peer is gone (Gone) or told to go (Ended).

    `beat`: what is written at each heartbeat even where nothing is followed.
    """
    loop = asyncio.get_running_loop()
    heartbeat = loop.time() + house.heartbeat_s
    while True:
        await out.flush()
        if await following.step():
            continue
        if loop.time() >= heartbeat:
            heartbeat += house.heartbeat_s
            if beat is not None:
                out.offer(beat)
            following.still_ready()
            continue
        await out.woken(heartbeat)
