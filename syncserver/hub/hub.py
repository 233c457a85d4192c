"""Channel -> subscriptions, in memory. `publish` waits for nobody; no method awaits, so each is one step.

A channel's position is the offset up to which its news was published here; it is passed on soon after. It is unknown
until the first subscription has caught up; a doorbell that rings before is remembered.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from syncserver.core.change import Page
from syncserver.hub.news import News
from syncserver.hub.subscription import Standing, Subscription


def _at_once(work: Callable[[], None]) -> None:
    work()


@dataclass(slots=True)
class Channel:
    """The subscriptions of one owner in this process. `news`: what was published and is not passed on yet."""

    position: int | None = None
    rung: bool = False
    news: list[Page] = field(default_factory=list)
    subscriptions: set[Subscription] = field(default_factory=set)


class Hub:
    """All channels that somebody here listens to. `ring` asks for an owner's log to be read.

    `soon(work)` does the work a little later: what is published until then is passed on together.
    """

    def __init__(self, soon: Callable[[Callable[[], None]], object] = _at_once) -> None:
        self._soon = soon
        self._untold: list[Channel] = []
        self._channels: dict[str, Channel] = {}
        self.ring: Callable[[str], None] = lambda _owner: None

    def attach(self, subscription: Subscription) -> None:
        """Begin to hear of the owner's changes; the subscription is catching up."""
        self._channels.setdefault(subscription.owner, Channel()).subscriptions.add(subscription)

    def detach(self, subscription: Subscription) -> None:
        """Hear nothing any more; the last one takes the channel along."""
        channel = self._channels.get(subscription.owner)
        if channel is None:
            return
        channel.subscriptions.discard(subscription)
        if not channel.subscriptions:
            del self._channels[subscription.owner]

    def go_live(self, subscription: Subscription) -> bool:
        """The subscription has read the log up to its offset: pass news on from here, if none was missed since."""
        channel = self._channels.get(subscription.owner)
        if channel is None or subscription.standing is not Standing.CATCHING_UP:
            return False
        if channel.position is None:
            channel.position = subscription.offset
        if channel.position > subscription.offset:
            return False
        subscription.standing = Standing.LIVE
        if channel.rung:
            channel.rung = False
            self.ring(subscription.owner)
        return True

    def watched(self, owners: Collection[str] | None = None) -> dict[str, int]:
        """The positions of those of `owners` (None: all) whose news is wanted here now."""
        found = {}
        for owner in self._channels if owners is None else owners:
            channel = self._channels.get(owner)
            if channel is None:
                continue
            if channel.position is None:
                channel.rung = True
            else:
                found[owner] = channel.position
        return found

    def publish(self, page: Page) -> None:
        """Pass a page of the owner's log on to everybody who is live at its beginning."""
        channel = self._channels.get(page.owner)
        if channel is None or channel.position != page.since:
            return
        channel.position = page.until
        channel.news.append(page)
        if len(channel.news) > 1:
            return
        self._untold.append(channel)
        if len(self._untold) == 1:
            self._soon(self._tell)

    def level(self, subscription: Subscription) -> bool:
        """Whether all that was published on its channel has been passed on to it."""
        channel = self._channels.get(subscription.owner)
        return channel is not None and channel.position == subscription.offset

    def _tell(self) -> None:
        untold, self._untold = self._untold, []
        for channel in untold:
            news, channel.news = News(channel.news), []
            for subscription in channel.subscriptions:
                subscription.offer(news)

    def refetch(self, owner: str, reason: str) -> None:
        """The owner's log is not the one that was read so far: everybody has to fetch it again."""
        channel = self._channels.pop(owner, None)
        for subscription in channel.subscriptions if channel else ():
            subscription.end(reason)

    def __iter__(self) -> Iterator[Subscription]:
        return (s for channel in list(self._channels.values()) for s in list(channel.subscriptions))

    def __len__(self) -> int:
        return len(self._channels)
