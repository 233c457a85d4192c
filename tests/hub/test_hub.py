"""The hub's rules one by one, and its law: whatever happens in whatever order, what a device gets has no gap."""

import inspect
import json
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from syncserver.core.change import Page
from syncserver.core.cursor import Cursor
from syncserver.hub.hub import Hub
from syncserver.hub.subscription import Standing, Subscription
from syncserver.hub.writer import Writer

ADA = "user:ada"


def page(since: int, until: int, owner: str = ADA) -> Page:
    return Page(owner, "e", since, until, 0, until, [], more=False)


class Client:
    """A subscription attached to a hub, with the frames that reached it."""

    def __init__(self, hub: Hub, offset: int = 0, owner: str = ADA, wanted: frozenset[str] | None = None) -> None:
        self.frames: list[bytes] = []
        self.subscription = Subscription(owner, wanted, offset, self.deliver, lambda: None)
        hub.attach(self.subscription)

    def deliver(self, frame: bytes) -> bool:
        self.frames.append(frame)
        return True


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def rung(hub: Hub) -> list[str]:
    owners: list[str] = []
    hub.ring = owners.append
    return owners


def test_the_first_who_has_caught_up_says_where_the_channel_s_news_begins(hub: Hub, rung: list[str]):
    client = Client(hub, offset=7)
    assert hub.watched() == {}
    assert hub.go_live(client.subscription)
    assert client.subscription.standing is Standing.LIVE
    assert hub.watched() == {ADA: 7}
    assert rung == [ADA]  # `watched` was asked for it before it was known


def test_a_doorbell_before_the_first_is_live_is_remembered_and_rings_once(hub: Hub, rung: list[str]):
    first, second = Client(hub), Client(hub)
    assert hub.watched([ADA, "user:eve"]) == {}
    assert rung == []
    hub.go_live(first.subscription)
    hub.go_live(second.subscription)
    assert rung == [ADA]


def test_nobody_rings_where_no_doorbell_rang(hub: Hub, rung: list[str]):
    assert hub.go_live(Client(hub).subscription)
    assert rung == []


def test_whoever_is_behind_the_channel_reads_on_and_whoever_is_level_or_ahead_goes_live(hub: Hub):
    hub.go_live(Client(hub, offset=5).subscription)
    behind, level, ahead = Client(hub, 4), Client(hub, 5), Client(hub, 6)
    assert [hub.go_live(c.subscription) for c in (behind, level, ahead)] == [False, True, True]
    assert behind.subscription.standing is Standing.CATCHING_UP
    assert hub.watched() == {ADA: 5}
    hub.publish(page(5, 6))
    assert [len(c.frames) for c in (behind, level, ahead)] == [0, 1, 0]
    hub.publish(page(6, 7))
    assert [len(c.frames) for c in (behind, level, ahead)] == [0, 2, 1]


def test_whoever_read_on_by_itself_gets_only_what_is_left_of_a_page(hub: Hub):
    level, ahead = Client(hub, 5), Client(hub, 6)
    hub.go_live(level.subscription)
    hub.go_live(ahead.subscription)
    hub.publish(page(5, 8))
    for client, since in ((level, 5), (ahead, 6)):
        assert (client.subscription.standing, client.subscription.offset) == (Standing.LIVE, 8)
        assert json.loads(client.frames[0])["from"] == str(Cursor.at("e", ADA, since))


def test_only_a_subscription_that_is_attached_and_catching_up_goes_live(hub: Hub):
    client = Client(hub)
    assert hub.go_live(client.subscription)
    assert not hub.go_live(client.subscription)
    stranger = Subscription("user:eve", None, 0, lambda _: True, lambda: None)
    assert not hub.go_live(stranger)
    ended = Client(hub)
    ended.subscription.end()
    assert not hub.go_live(ended.subscription)


def test_news_is_the_same_bytes_for_all_who_asked_for_the_same(hub: Hub):
    clients = [Client(hub) for _ in range(3)] + [Client(hub, wanted=frozenset({"notes"})) for _ in range(2)]
    for client in clients:
        hub.go_live(client.subscription)
    hub.publish(page(0, 1))
    [a, b, c, d, e] = [client.frames[0] for client in clients]
    assert a is b is c
    assert d is e is not a


def test_what_is_published_before_it_is_passed_on_goes_together_and_is_the_same_bytes_for_all():
    later = list[Callable[[], None]]()
    hub = Hub(soon=later.append)
    clients = [Client(hub) for _ in range(3)]
    for client in clients:
        hub.go_live(client.subscription)
    hub.publish(page(0, 1))
    hub.publish(page(1, 3))
    assert [client.frames for client in clients] == [[], [], []]
    assert not hub.level(clients[0].subscription)  # so nobody is told that it holds everything
    late, early = Client(hub, offset=2), Client(hub, offset=3)
    assert (hub.go_live(late.subscription), hub.go_live(early.subscription)) == (False, True)
    [work] = later
    work()
    [a, b, c] = [client.frames[0] for client in clients]
    assert a is b is c
    assert a.count(b'"type":"changes"') == 2
    assert hub.level(clients[0].subscription)
    assert (late.frames, early.frames) == ([], [])
    hub.publish(page(3, 4))
    assert len(later) == 2


def test_a_page_that_does_not_follow_the_channel_s_news_is_ignored(hub: Hub):
    client = Client(hub, offset=5)
    hub.publish(page(0, 9))
    hub.go_live(client.subscription)
    for other in (page(4, 6), page(6, 7), page(5, 6, "user:eve")):
        hub.publish(other)
    assert client.frames == []
    assert hub.watched() == {ADA: 5}


def test_channels_are_apart(hub: Hub):
    ada, eve = Client(hub), Client(hub, owner="user:eve")
    hub.go_live(ada.subscription)
    hub.go_live(eve.subscription)
    hub.publish(page(0, 1))
    assert (len(ada.frames), len(eve.frames)) == (1, 0)
    assert hub.watched(["user:eve"]) == {"user:eve": 0}


def test_the_last_to_leave_takes_the_channel_along(hub: Hub):
    one, two = Client(hub), Client(hub)
    hub.detach(one.subscription)
    assert (len(hub), list(hub)) == (1, [two.subscription])
    hub.detach(two.subscription)
    hub.detach(two.subscription)
    assert (len(hub), list(hub), hub.watched()) == (0, [], {})


def test_refetch_ends_everybody_on_the_channel_and_nobody_else(hub: Hub):
    one, two, eve = Client(hub), Client(hub), Client(hub, owner="user:eve")
    hub.go_live(one.subscription)
    hub.refetch(ADA, "epoch")
    assert [c.subscription.standing for c in (one, two, eve)] == [Standing.ENDED, Standing.ENDED, Standing.CATCHING_UP]
    assert (one.subscription.refetch, two.subscription.refetch) == ("epoch", "epoch")
    hub.detach(one.subscription)
    hub.refetch("user:nobody", "epoch")
    assert len(hub) == 1


def test_no_method_of_the_hub_waits():
    methods = [member for _, member in inspect.getmembers(Hub, inspect.isfunction)]
    assert methods
    assert not any(inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method) for method in methods)


# -- the law -----------------------------------------------------------------

_which = st.integers(0, 3)


def _line(frame: bytes) -> bytes:
    return frame + b"\n"


class Device:
    """A connection in short: a small writer, and catch-up reads that go to the wire after what is due."""

    def __init__(self, hub: Hub, offset: int, room: int) -> None:
        self.writer = Writer(limit_bytes=room)
        self.start = offset
        self.reading: Page | None = None
        self.wire: list[tuple[int, int]] = []
        self.subscription = Subscription(ADA, None, offset, self.writer.offer, lambda: None, _line)
        hub.attach(self.subscription)

    def flush(self) -> None:
        for frame in self.writer.take():
            for said in map(json.loads, frame.splitlines()):
                self.wire.append((Cursor.parse(said["from"]).offset, Cursor.parse(said["to"]).offset))


class Channel(RuleBasedStateMachine):
    """One owner's log, the feed's two steps, and devices that come, read, dawdle and go, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.later: list[Callable[[], None]] = []
        self.hub = Hub(soon=self.later.append)
        self.hub.ring = lambda _: self.ring()
        self.head = 0
        self.rung = False
        self.reading: Page | None = None
        self.devices = [Device(self.hub, 0, room) for room in (1, 100_000)]

    def ring(self) -> None:
        self.rung = True

    def page(self, since: int, limit: int) -> Page:
        until = min(self.head, since + limit)
        return Page(ADA, "e", since, until, 0, self.head, [], more=until < self.head)

    @rule(rows=st.integers(1, 4))
    def commit(self, rows: int) -> None:
        self.head += rows
        self.ring()

    @precondition(lambda self: self.rung and self.reading is None)
    @rule(limit=st.integers(1, 5))
    def feed_reads(self, limit: int) -> None:
        self.rung = False
        position = self.hub.watched([ADA]).get(ADA)
        if position is not None:
            self.reading = self.page(position, limit)

    @precondition(lambda self: self.reading is not None)
    @rule()
    def feed_publishes(self) -> None:
        found, self.reading = self.reading, None
        if found is not None and found.until > found.since:
            self.hub.publish(found)
            if found.more:
                self.ring()

    @precondition(lambda self: self.later)
    @rule()
    def hub_passes_on(self) -> None:
        works, self.later[:] = self.later[:], []
        for work in works:
            work()

    @rule(back=st.integers(0, 5), room=st.sampled_from([1, 150, 100_000]))
    def attach(self, back: int, room: int) -> None:
        self.devices.append(Device(self.hub, max(0, self.head - back), room))

    def behind(self) -> list[Device]:
        return [d for d in self.devices if d.subscription.standing is Standing.CATCHING_UP and d.reading is None]

    def waiting(self) -> list[Device]:
        return [d for d in self.devices if d.reading is not None]

    @precondition(lambda self: self.behind())
    @rule(which=_which, limit=st.integers(1, 9))
    def catch_up_reads(self, which: int, limit: int) -> None:
        """As a connection does: first what is due goes to the wire, then a page of the log is asked for."""
        device = self.behind()[which % len(self.behind())]
        device.flush()
        device.reading = self.page(device.subscription.offset, limit)

    @precondition(lambda self: self.waiting())
    @rule(which=_which)
    def catch_up_ends(self, which: int) -> None:
        """The page came, perhaps older than what was committed since: live if none was missed."""
        device = self.waiting()[which % len(self.waiting())]
        found, device.reading = device.reading, None
        if found is None:
            return
        device.subscription.offset = found.until
        if found.until > found.since:
            device.wire.append((found.since, found.until))
        if not found.more:
            self.hub.go_live(device.subscription)

    @precondition(lambda self: self.devices)
    @rule(which=_which)
    def leave(self, which: int) -> None:
        device = self.devices.pop(which % len(self.devices))
        self.hub.detach(device.subscription)
        device.subscription.end()

    def teardown(self) -> None:
        """When nothing new happens, everybody ends live and at the head: no doorbell was lost."""
        for _ in range(2 * self.head + 4):
            self.feed_publishes()
            self.hub_passes_on()
            if self.rung:
                self.feed_reads(9)
            while self.behind():
                self.catch_up_reads(0, 9)
            while self.waiting():
                self.catch_up_ends(0)
        assert {d.subscription.offset for d in self.devices} <= {self.head}
        assert {d.subscription.standing for d in self.devices} <= {Standing.LIVE}

    @invariant()
    def what_reached_each_device_has_no_gap_and_no_overlap(self) -> None:
        for device in self.devices:
            cursor = device.start
            for since, until in device.wire:
                assert since == cursor
                cursor = until
            due = len(device.writer._waiting) > 0
            assert (cursor < device.subscription.offset) if due else (cursor == device.subscription.offset)

    @invariant()
    def nobody_is_live_behind_the_channel(self) -> None:
        for device in self.devices:
            if device.subscription.standing is Standing.LIVE and not self.later:
                assert device.subscription.offset >= self.hub.watched()[ADA]


def test_in_any_order_of_events_every_device_gets_everything_once_and_in_order():
    run_state_machine_as_test(Channel, settings=settings(max_examples=200, stateful_step_count=50, deadline=None))
