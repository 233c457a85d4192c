import json
from collections.abc import Callable

import pytest

from syncserver.core.change import Page
from syncserver.hub.news import News
from syncserver.hub.subscription import Doorbell, Standing, Subscription


def news(since: int, until: int) -> News:
    return News([Page("user:ada", "e", since, until, 0, until, [], more=False)])


class Client:
    """A subscription at offset 5, what was delivered to it, and how often it was woken."""

    def __init__(self, standing: Standing = Standing.LIVE, room: Callable[[], bool] = lambda: True) -> None:
        self.delivered: list[bytes] = []
        self.woken = 0
        self.room = room
        self.subscription = Subscription("user:ada", None, 5, self.deliver, self.wake)
        self.subscription.standing = standing

    def deliver(self, frame: bytes) -> bool:
        if self.room():
            self.delivered.append(frame)
            return True
        return False

    def wake(self) -> None:
        self.woken += 1

    def offered(self, page: News) -> tuple[int, Standing, int, int]:
        self.subscription.offer(page)
        return self.subscription.offset, self.subscription.standing, len(self.delivered), self.woken


def test_a_subscription_begins_by_catching_up():
    assert Subscription("user:ada", None, 0, lambda _: True, lambda: None).standing is Standing.CATCHING_UP


def test_news_that_follows_the_cursor_is_delivered():
    client, page = Client(), news(5, 8)
    assert client.offered(page) == (8, Standing.LIVE, 1, 0)
    assert client.delivered[0] is page.frames(None, 5)


@pytest.mark.parametrize(("since", "until"), [(4, 6), (0, 9)])
def test_of_news_that_overlaps_its_cursor_it_gets_what_is_left(since: int, until: int):
    client = Client()
    assert client.offered(news(since, until)) == (until, Standing.LIVE, 1, 0)
    assert json.loads(client.delivered[0])["from"].endswith(".5")


def test_a_gap_sends_it_back_to_the_log():
    assert Client().offered(news(6, 8)) == (5, Standing.CATCHING_UP, 0, 1)


@pytest.mark.parametrize(("since", "until"), [(3, 5), (0, 2), (5, 5)])
def test_news_that_it_holds_already_passes_it_by(since: int, until: int):
    assert Client().offered(news(since, until)) == (5, Standing.LIVE, 0, 0)


def test_without_room_nothing_is_kept_and_it_is_read_again_from_the_log():
    client = Client(room=lambda: False)
    assert client.offered(news(5, 6)) == (5, Standing.CATCHING_UP, 0, 1)
    client.room = lambda: True
    assert client.offered(news(6, 7)) == (5, Standing.CATCHING_UP, 0, 1)


@pytest.mark.parametrize("standing", [Standing.CATCHING_UP, Standing.ENDED])
def test_news_passes_by_whoever_is_not_live(standing: Standing):
    assert Client(standing).offered(news(5, 6)) == (5, standing, 0, 0)


def test_an_end_wakes_the_connection_and_says_whether_to_fetch_again():
    client = Client()
    client.subscription.end("epoch")
    assert (client.subscription.standing, client.subscription.refetch, client.woken) == (Standing.ENDED, "epoch", 1)
    client.subscription.end()
    assert client.subscription.refetch is None


def test_a_doorbell_is_woken_by_news_and_takes_none_of_it():
    woken = list[int]()
    bell = Doorbell("user:ada", lambda: woken.append(1))
    bell.offset = 5
    for standing, page, expected in (
        (Standing.CATCHING_UP, news(5, 6), Standing.CATCHING_UP),
        (Standing.LIVE, news(4, 5), Standing.LIVE),
        (Standing.LIVE, news(5, 6), Standing.CATCHING_UP),
        (Standing.LIVE, news(9, 10), Standing.CATCHING_UP),
        (Standing.ENDED, news(5, 6), Standing.ENDED),
    ):
        bell.standing = standing
        bell.offer(page)
        assert (bell.standing, bell.offset) == (expected, 5)
    assert len(woken) == 2
