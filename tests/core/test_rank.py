"""Ranks: texts that sort bytewise, with room between any two."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core import rank

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_ranks = st.text(_DIGITS, min_size=1, max_size=12).filter(lambda text: not text.endswith("0"))
_moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis puts the zone to it


def is_rank(text: str) -> bool:
    return bool(text) and set(text) <= set(_DIGITS) and not text.endswith("0")


@given(_ranks, _ranks)
def test_between_two_there_is_always_another(one: str, other: str):
    low, high = sorted((one, other))
    if low == high:
        with pytest.raises(ValueError, match="nothing between"):
            rank.between(low, high)
        return
    made = rank.between(low, high)
    assert low < made < high
    assert is_rank(made)
    assert len(made) <= max(len(low), len(high)) + 1


@given(_ranks)
def test_before_the_first_and_after_the_last_there_is_always_another(one: str):
    before, after = rank.between(None, one), rank.between(one, None)
    assert before < one < after
    assert is_rank(before)
    assert is_rank(after)


def test_an_empty_sequence_has_a_middle():
    assert is_rank(rank.between(None, None))


def test_those_that_are_out_of_order_are_refused():
    with pytest.raises(ValueError, match="nothing between"):
        rank.between("b", "a")


@given(st.lists(st.sampled_from(("first", "last", "middle")), min_size=1, max_size=200))
def test_rows_that_are_put_in_one_after_the_other_make_ranks_grow_slowly(where: list[str]):
    ranks = [rank.between(None, None)]
    for place in where:
        spot = {"first": 0, "last": len(ranks), "middle": len(ranks) // 2}[place]
        low, high = ranks[spot - 1] if spot else None, ranks[spot] if spot < len(ranks) else None
        ranks.insert(spot, rank.between(low, high))
    assert ranks == sorted(set(ranks))
    assert max(map(len, ranks)) <= 2 + len(where) // 4


@given(st.integers(0, 3_000))
def test_ranks_that_are_spread_are_in_order_with_room_between_them_and_before_those_of_moments(count: int):
    made = list(rank.spread(count))
    assert len(made) == count
    assert made == sorted(set(made))
    assert all(map(is_rank, made))
    assert max(map(len, made), default=0) <= 3
    assert all(len(rank.between(low, high)) <= 4 for low, high in pairwise(made[:200]))
    assert all(one < rank.at(datetime(1970, 1, 1, tzinfo=UTC)) for one in made)


@given(_moments, _moments)
def test_what_is_put_in_later_stands_further_behind(one: datetime, other: datetime):
    early, late = sorted((one, other))
    assert rank.at(early) <= rank.at(late)
    assert (rank.at(early) == rank.at(late)) is (early == late or late <= datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC))
    assert is_rank(rank.at(early))


def test_moments_are_told_apart_by_the_microsecond():
    assert rank.at(NOON) < rank.at(NOON + timedelta(microseconds=1)) < rank.at(NOON + timedelta(days=36_500))
