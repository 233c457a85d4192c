"""Sets of time, held against sets of seconds that are told one by one."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from syncserver.core import spans

EVENING = datetime(2026, 2, 27, 20, 0, tzinfo=UTC)
_moments = st.integers(0, 400).map(lambda quarter: EVENING + timedelta(seconds=quarter / 4))
_intervals = st.lists(st.tuples(_moments, _moments).map(sorted), max_size=8)


def seconds_of(intervals: list[list[datetime]]) -> set[int]:
    """Every whole second in these."""
    ends = [[int((moment - EVENING).total_seconds()) for moment in interval] for interval in intervals]
    return {second for start, end in ends for second in range(start, end)}


@given(_intervals)
def test_a_union_is_the_set_of_all_seconds_in_order_and_apart(intervals: list[list[datetime]]):
    found = spans.union(intervals)
    assert seconds_of([list(span) for span in found]) == seconds_of(intervals)
    assert spans.seconds(found) == len(seconds_of(intervals))
    assert all(first[1] < second[0] for first, second in pairwise(found))
    assert all(start < end for start, end in found)


@given(_intervals, _intervals)
def test_to_join_in_any_order_and_again_changes_nothing(some: list[list[datetime]], others: list[list[datetime]]):
    found = spans.union([*some, *others])
    assert spans.union([*reversed(others), *some, *others]) == found
    assert spans.union([*spans.union(some), *spans.union(others)]) == found


@given(_intervals, st.integers(0, 100))
def test_what_lies_before_a_moment(intervals: list[list[datetime]], end: int):
    cut = spans.until(spans.union(intervals), EVENING + timedelta(seconds=end))
    assert spans.seconds(cut) == len({second for second in seconds_of(intervals) if second < end})
