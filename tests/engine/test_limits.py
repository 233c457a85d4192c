"""What one guest may do: each limit is hit, names its time, and lets go again; others are not harmed."""

from collections.abc import Callable
from typing import Any

import pytest

from syncserver.core.errors import Claimed, RateLimited, Unauthorised, Unavailable
from syncserver.engine.limits import Limits

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Clock:
    """It stands until it is set."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limited(work: Callable[..., Any], *arguments: Any) -> float:
    with pytest.raises(RateLimited) as refused:
        work(*arguments)
    return refused.value.retry_after_s


def wrong_key(limits: Limits, address: str | None, error: Exception | None = None) -> None:
    with pytest.raises(type(error or Unauthorised(""))), limits.key_from(address):
        raise error or Unauthorised("no")


def test_mutations_of_one_owner(clock: Clock):
    limits = Limits(mutations_per_s=10, clock=clock)
    limits.mutations("ada", 100)
    assert limited(limits.mutations, "ada", 50) == 5
    limits.mutations("ben", 50)
    clock.now += 5
    limits.mutations("ada", 50)


def test_a_push_of_nothing_counts_too(clock: Clock):
    limits = Limits(mutations_per_s=1, clock=clock)
    for _ in range(10):
        limits.mutations("ada", 0)
    assert limited(limits.mutations, "ada", 0) == 1


def test_frames_of_one_connection(clock: Clock):
    limits = Limits(frames_per_s=5, clock=clock)
    one, other = limits.frames(), limits.frames()
    for _ in range(20):
        one()
    assert limited(one) == 1
    other()
    clock.now += 1
    one()


@pytest.mark.parametrize(
    ("setting", "name", "at_once", "wait_s"),
    [
        ("requests_per_s", "request", 24, 1),
        ("tickets_per_minute", "ticket", 6, 10),
        ("sessions_per_minute", "session", 6, 10),
    ],
)
def test_what_comes_one_by_one(clock: Clock, setting: str, name: str, at_once: int, wait_s: float):
    numbers: dict[str, Any] = {setting: 6}
    allow = getattr(Limits(**numbers, clock=clock), name)
    for _ in range(at_once):
        allow(HERE)
    assert limited(allow, HERE) == wait_s
    allow(THERE)
    clock.now += wait_s
    allow(HERE)


def test_after_too_many_wrong_keys_none_is_looked_at(clock: Clock):
    limits = Limits(wrong_keys_per_minute=3, clock=clock)
    for _ in range(3):
        wrong_key(limits, HERE)
    assert limited(limits.key_from(HERE).__enter__) == 20
    with limits.key_from(THERE):
        pass
    clock.now += 20
    with limits.key_from(HERE):
        pass


@pytest.mark.parametrize("error", [Unavailable("away"), Claimed(), KeyError()])
def test_only_wrong_keys_count(clock: Clock, error: Exception):
    limits = Limits(wrong_keys_per_minute=1, clock=clock)
    for _ in range(5):
        wrong_key(limits, HERE, error)
        with limits.key_from(HERE):
            pass


def test_connections_from_one_address():
    limits = Limits(connections_per_address=2)
    with limits.connected(HERE), limits.connected(THERE):
        with limits.connected(HERE):
            assert limited(limits.connected(HERE).__enter__) > 0
        with limits.connected(HERE):
            pass
    assert not limits._connected


def test_a_connection_that_fails_leaves_its_place():
    limits = Limits(connections_per_address=1)
    for _ in range(3):
        with pytest.raises(KeyError), limits.connected(HERE):
            raise KeyError


def test_sockets_and_streams_of_one_owner():
    limits = Limits(sockets_per_owner=2, streams_per_owner=1)
    limits.socket(1)
    limits.stream(0)
    assert limited(limits.socket, 2) > 0
    assert limited(limits.stream, 1) > 0


def test_nought_is_no_limit():
    limits = Limits(
        sockets_per_owner=0,
        streams_per_owner=0,
        connections_per_address=0,
        frames_per_s=0,
        mutations_per_s=0,
        requests_per_s=0,
        tickets_per_minute=0,
        wrong_keys_per_minute=0,
        sessions_per_minute=0,
    )
    frame = limits.frames()
    for number in range(10_000):
        limits.socket(number)
        limits.stream(number)
        frame()
        limits.mutations("ada", 500)
        limits.request("ada")
        limits.ticket("ada")
        limits.session(HERE)
    for _ in range(100):
        wrong_key(limits, HERE)


def test_without_an_address_nothing_is_counted_by_it(clock: Clock):
    limits = Limits(connections_per_address=1, wrong_keys_per_minute=1, sessions_per_minute=1, clock=clock)
    for _ in range(5):
        limits.session(None)
        wrong_key(limits, None)
        with limits.connected(None), limits.connected(None):
            pass


@pytest.mark.parametrize("passed_s", [0.001, 0.006, 3.0051, 7.776])
def test_who_comes_back_at_the_time_that_was_named_is_let_in(clock: Clock, passed_s: float):
    limits = Limits(mutations_per_s=1, clock=clock)
    limits.mutations("ada", 10)
    clock.now += passed_s
    clock.now += limited(limits.mutations, "ada", 10)
    limits.mutations("ada", 10)
