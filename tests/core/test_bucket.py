"""The law of a token bucket: in no time does more come out of it than it holds and than came in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core.bucket import Bucket, Buckets

PER_S = st.floats(0.1, 10_000)
BURST = st.integers(1, 10_000)
ASKED = st.lists(st.tuples(st.floats(0, 100), st.integers(1, 500)), min_size=1, max_size=60)


@given(PER_S, BURST, ASKED)
def test_never_more_than_the_burst_and_what_came_in_since(per_s: float, burst: int, asked: list[tuple[float, int]]):
    bucket, now, taken = Bucket(per_s, burst), 1e6, list[tuple[float, int]]()
    for pause_s, number in asked:
        now += pause_s
        if not bucket.take(now, number):
            taken.append((now, number))
    largest = max((number for _, number in taken), default=0)
    for first, (begun, _) in enumerate(taken):
        total = 0
        for at, number in taken[first:]:
            total += number
            assert total <= max(burst, largest) + per_s * (at - begun) + 0.01


@given(PER_S, BURST, ASKED)
def test_the_wait_that_it_names_is_enough_and_not_more_than_needed(
    per_s: float, burst: int, asked: list[tuple[float, int]]
):
    bucket, now = Bucket(per_s, burst), 1e6
    for pause_s, number in asked:
        now += pause_s
        wait_s = bucket.take(now, number)
        if wait_s:
            assert bucket.wait_s(now + wait_s * 0.99 - 1e-3, number)
            now += wait_s + 1e-9
            assert bucket.take(now, number) == 0


@given(st.lists(st.floats(-10, 10), max_size=20))
def test_a_clock_that_goes_back_brings_nothing(steps: list[float]):
    bucket, now = Bucket(1, 5), 100.0
    took = int(not bucket.take(now))
    for step in steps:
        now = min(100.0, now + step)
        took += not bucket.take(now)
    assert took <= 5


def test_looking_takes_nothing():
    bucket = Bucket(1, 1)
    assert [bucket.wait_s(0.0), bucket.take(0.0), bucket.wait_s(0.0), bucket.take(0.0)] == [0, 0, 1, 1]


def test_what_is_more_than_it_holds_is_owed():
    bucket = Bucket(10, 5)
    assert bucket.take(0.0, 25) == 0
    assert bucket.take(0.0) == pytest.approx(2.1)


def test_each_name_has_its_own_bucket():
    buckets = Buckets(1, 1)
    assert [buckets.take(name, 0.0) for name in ("a", "b", "a")] == [0, 0, 1]
    assert [buckets.wait_s(name, 0.0) for name in ("a", "c")] == [1, 0]


def test_no_rate_is_no_limit_and_keeps_nothing():
    buckets = Buckets(0, 0)
    assert not any(buckets.take("a", 0.0, 1_000) for _ in range(100))
    assert len(buckets) == 0


def test_those_that_are_full_again_are_forgotten():
    buckets = Buckets(1, 10)
    for number in range(10_000):
        assert buckets.take(number, number / 100) == 0
    assert len(buckets) <= 200  # of the last second, and as many that are about to go


def test_one_that_is_not_full_is_kept():
    buckets = Buckets(0.1, 2)
    buckets.take("guest", 0.0, 2)
    for number in range(100):
        buckets.take(number, number / 10)
    assert buckets.take("guest", 9.9) > 0


def test_there_are_never_more_than_so_many():
    buckets = Buckets(0.001, 1, most=100)
    for number in range(1_000):
        buckets.take(number, 0.0)
        assert len(buckets) <= 100
