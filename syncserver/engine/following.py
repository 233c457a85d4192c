"""One peer's way along its owner's log: subscribed, catching up, live, or told to fetch again. Knows no transport.

It has no task: the hub wakes it where it is behind, `Outgoing` where all that was due is written, and `Catchup` brings
it the pages that it asked for.
"""

import asyncio
from typing import Protocol

from syncserver.core import encode
from syncserver.core.change import Page
from syncserver.core.cursor import Cursor
from syncserver.core.errors import Refetch, Unavailable
from syncserver.engine.catchup import Asked
from syncserver.engine.house import House
from syncserver.engine.outgoing import Outgoing
from syncserver.hub.news import Wanted
from syncserver.hub.subscription import Standing, Subscription

_RETRY_READ_S = 0.5


class Follower(Protocol):
    """Whose way it is."""

    def begun(self) -> None:
        """What was asked for is under way: its first page went out."""

    def unfollowed(self, error: Exception) -> None:
        """It ended: by Refetch, or Unavailable where it could not begin, or a fault."""


class Following:
    """At most one subscription at a time; what comes of it goes to `out`, and `follower` hears how it fares."""

    __slots__ = ("_asked", "_begun", "_cursor", "_follower", "_house", "_out", "_owner", "_subscription")

    def __init__(self, house: House, owner: str, out: Outgoing, follower: Follower) -> None:
        self._house = house
        self._follower = follower
        self._owner = owner
        self._out = out
        self._subscription: Subscription | None = None
        self._cursor: Cursor | None = None
        self._asked: Asked | None = None
        self._begun = False

    def begin(self, wanted: Wanted, cursor: Cursor | None) -> None:
        """Follow from here (None: from nothing), in place of what was followed before."""
        self.end()
        after = cursor.offset if cursor is not None else 0
        self._subscription = Subscription(self._owner, wanted, after, self._out.offer, self._woken, self._out.form)
        self._cursor = cursor
        self._begun = False
        self._house.hub.attach(self._subscription)
        self._ask(self._subscription)

    def end(self) -> None:
        """Follow nothing any more."""
        subscription, self._subscription, self._asked = self._subscription, None, None
        if subscription is not None:
            self._house.hub.detach(subscription)
            subscription.end()

    def drained(self) -> None:
        """All that was due is written: time to read on, if something is missing."""
        subscription = self._subscription
        if subscription is not None and self._asked is None and subscription.standing is Standing.CATCHING_UP:
            self._ask(subscription)

    def still_ready(self) -> None:
        """Say again how far the peer holds everything, as of when the database was last seen to agree."""
        cursor = self._reached()
        if cursor is None or self._subscription is None or self._subscription.standing is not Standing.LIVE:
            return
        verified = self._house.verified(self._owner)
        if verified is not None and self._house.hub.level(self._subscription):
            self._out.say(encode.ready(str(cursor), verified))

    # -- the log is read -----------------------------------------------------

    def paged(self, asked: Asked, page: Page) -> None:
        """A page of the log came; what was missed since it was read is seen by the hub."""
        subscription = self._current(asked)
        if subscription is None:
            return
        subscription.offset = page.until
        self._cursor = page.cursor_until
        live = not page.more and self._house.hub.go_live(subscription)
        if page.until > page.since:
            self._out.answer(encode.changes(page, page.changes))
        if live:
            self._out.answer(encode.ready(str(page.cursor_until), self._house.now()))
        else:
            self._out.resumed()
        if not self._begun:
            self._begun = True
            self._follower.begun()

    def failed(self, asked: Asked, error: Exception) -> None:
        """The log could not be read: in the middle of it, it is read again soon."""
        if self._current(asked) is None:
            return
        if self._begun and isinstance(error, Unavailable):
            asyncio.get_running_loop().call_later(_RETRY_READ_S, self.drained)
        else:
            self.end()
            self._follower.unfollowed(error)

    def _ask(self, subscription: Subscription) -> None:
        self._asked = Asked(self, self._owner, self._reached() if self._begun else self._cursor, subscription.wanted)
        self._house.catchup.ask(self._asked)

    def _current(self, asked: Asked) -> Subscription | None:
        """The subscription that this was asked for, if it still waits for it."""
        if asked is not self._asked:
            return None
        self._asked = None
        subscription = self._subscription
        return subscription if subscription and subscription.standing is Standing.CATCHING_UP else None

    def _woken(self) -> None:
        """The subscription is not live any more."""
        subscription = self._subscription
        if subscription is None:
            return
        if subscription.standing is Standing.ENDED:
            error = Refetch(subscription.refetch or "ended")
            self.end()
            self._follower.unfollowed(error)
        else:
            self._out.resumed()

    def _reached(self) -> Cursor | None:
        """How far what went to `out` leads; None where nothing is followed."""
        if self._subscription is None or self._cursor is None:
            return None
        return Cursor.at(self._cursor.epoch, self._owner, self._subscription.offset, self._cursor.began)
