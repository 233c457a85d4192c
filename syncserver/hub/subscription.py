"""One connection's place in one channel. It knows only its cursor: what it misses it is read again from the log.

States: catching up (the log is being read for it; news passes it by) -> live -> behind (something between its
cursor and the news is missing, or its writer was full) -> catching up again. `ended`: unsubscribed, or told to refetch.
"""

from collections.abc import Callable
from enum import Enum, auto

from syncserver.hub.news import Form, News, Wanted, plain


class Standing(Enum):
    """How a subscription gets its changes now."""

    CATCHING_UP = auto()
    LIVE = auto()
    ENDED = auto()


class Subscription:
    """`deliver` takes frames, in the form that `form` gives each, or answers False when there is no room.

    `wake` is called when it is not live any more.
    """

    __slots__ = ("_deliver", "_form", "_wake", "offset", "owner", "refetch", "standing", "wanted")

    def __init__(
        self,
        owner: str,
        wanted: Wanted,
        offset: int,
        deliver: Callable[[bytes], bool],
        wake: Callable[[], None],
        form: Form = plain,
    ) -> None:
        self.owner = owner
        self.wanted = wanted
        self.offset = offset
        self.standing = Standing.CATCHING_UP
        self.refetch: str | None = None
        self._deliver = deliver
        self._wake = wake
        self._form = form

    def offer(self, news: News) -> None:
        """News of the channel: what is past the cursor is passed on, unless something is missing between. No waits."""
        if self.standing is not Standing.LIVE or news.until <= self.offset:
            return
        if news.since <= self.offset and self._deliver(news.frames(self.wanted, self.offset, self._form)):
            self.offset = news.until
        else:
            self.standing = Standing.CATCHING_UP
            self._wake()

    def end(self, refetch: str | None = None) -> None:
        """No more changes; with a reason, the client has to fetch everything again."""
        self.standing = Standing.ENDED
        self.refetch = refetch
        self._wake()


class Doorbell(Subscription):
    """A subscription that takes no news: it is only woken by it, and reads the log itself."""

    __slots__ = ()

    def __init__(self, owner: str, wake: Callable[[], None]) -> None:
        super().__init__(owner, None, 0, lambda _frame: False, wake)

    def offer(self, news: News) -> None:
        """There is news, whatever it is."""
        if self.standing is Standing.LIVE and news.until > self.offset:
            self.standing = Standing.CATCHING_UP
            self._wake()
