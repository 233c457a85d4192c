"""Steps of reading: whole seconds before the last activity, in quarters of an hour, and the way that was made."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core import clock, reading
from syncserver.core.reading import QUARTER, Step

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
Fields = dict[str, Any]


def session(seconds: int = 0, minutes: float = 0, **more: Any) -> Fields:
    fields = {
        "status": "active",
        "active_seconds": seconds,
        "last_activity": clock.write(NOON + timedelta(minutes=minutes)),
        "locator": None,
        "percentage": None,
        "start_locator": None,
        "start_percentage": None,
        "resumed_from": None,
    }
    return {**fields, **more}


def page(position: int | None) -> Fields:
    return {"href": "moby.xhtml", "type": "text/html", "locations": {"position": position}}


# -- the time ----------------------------------------------------------------


def test_the_seconds_that_a_save_adds_lie_just_before_its_last_activity():
    step = reading.step(session(600, 10), session(900, 60))
    assert step == Step((NOON + timedelta(minutes=55), NOON + timedelta(minutes=60)))


def test_all_seconds_of_a_new_session_are_its_own():
    step = reading.step(None, session(60))
    assert step == Step((NOON - timedelta(minutes=1), NOON))


def test_of_one_save_a_day_is_counted_at_most():
    step = reading.step(None, session(1_000_000_000))
    assert step == Step((NOON - timedelta(days=1), NOON))
    assert len(list(step.quarters())) == 96


@pytest.mark.parametrize("seconds", [600, 599, 0])
def test_a_save_that_adds_no_second_is_no_step(seconds: int):
    moved = session(seconds, 60, percentage=0.9, locator=page(50))
    assert reading.step(session(600, percentage=0.1, locator=page(1)), moved) is None


def test_a_new_session_in_which_nothing_was_read_is_no_step():
    assert reading.step(None, session(0, percentage=0.5)) is None


# -- the way -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "pages"),
    [
        (1, 11, (1, 11)),
        (1, 61, (1, 61)),
        (1, 62, None),
        (11, 11, None),
        (11, 1, None),
        (None, 11, None),
        (1, None, None),
        (2**31 - 2, 2**31 - 1, (2**31 - 2, 2**31 - 1)),
        (2**31 - 1, 2**31, None),
    ],
)
def test_pages_count_where_they_go_forward_and_a_page_a_second_at_most(
    start: int | None, end: int | None, pages: tuple[int, int] | None
):
    step = reading.step(session(0, locator=page(start)), session(60, 1, locator=page(end)))
    assert step
    assert step.pages == pages


@pytest.mark.parametrize(
    ("start", "end", "span"),
    [(0.1, 0.2, (0.1, 0.2)), (0.0, 0.6, (0.0, 0.6)), (0.0, 0.61, None), (0.2, 0.2, None), (0.2, 0.1, None)],
)
def test_a_part_of_the_publication_counts_at_a_hundredth_a_second_at_most(
    start: float, end: float, span: tuple[float, float] | None
):
    step = reading.step(session(0, percentage=start), session(60, 1, percentage=end))
    assert step
    assert step.span == span


def test_a_new_session_makes_its_way_from_where_it_began():
    made = session(60, start_locator=page(5), locator=page(9), start_percentage=0.1, percentage=0.2)
    step = reading.step(None, made)
    assert step
    assert (step.pages, step.span) == ((5, 9), (0.1, 0.2))


@pytest.mark.parametrize("locator", [None, {}, {"locations": None}, {"locations": {}}])
def test_a_locator_without_a_page_makes_no_way(locator: Fields | None):
    step = reading.step(session(0, locator=locator), session(60, 1, locator=page(9)))
    assert step
    assert step.pages is None


# -- quarters of an hour -----------------------------------------------------

_moments = st.integers(-5 * 10**16, 8 * 10**15).map(lambda passed: NOON + timedelta(microseconds=passed))
_lengths = st.integers(1, 400_000).map(lambda tenths: timedelta(seconds=tenths / 10))


@given(_moments, _lengths)
def test_the_pieces_tile_the_time_exactly_each_within_its_quarter(start: datetime, length: timedelta):
    end = start + length
    pieces = list(Step((start, end)).quarters())
    assert (pieces[0][1][0], pieces[-1][1][1]) == (start, end)
    assert all(one[1] == other[0] for (_, one), (_, other) in pairwise(pieces))
    for quarter, (began, ended) in pieces:
        assert quarter <= began < ended <= quarter + QUARTER
        assert (quarter.minute % 15, quarter.second, quarter.microsecond) == (0, 0, 0)
    quarters = [quarter for quarter, _ in pieces]
    assert len(set(quarters)) == len(quarters) <= length // QUARTER + 2


@given(_moments, st.lists(_lengths, min_size=1, max_size=5))
def test_whatever_the_saves_are_the_same_time_is_in_the_same_quarters(start: datetime, lengths: Sequence[timedelta]):
    whole = _seconds([Step((start, start + sum(lengths, timedelta())))])
    steps = []
    for length in lengths:
        steps.append(Step((start, start + length)))
        start += length
    assert _seconds(steps) == whole


def _seconds(steps: Sequence[Step]) -> dict[datetime, timedelta]:
    found: dict[datetime, timedelta] = {}
    for step in steps:
        for quarter, (start, end) in step.quarters():
            found[quarter] = found.get(quarter, timedelta()) + (end - start)
    return found


def test_quarters_are_those_of_utc_whatever_the_stamp_is_written_in():
    start = datetime.fromisoformat("2026-03-01T17:40:00+05:45")
    assert [quarter for quarter, _ in Step((start, start + timedelta(minutes=10))).quarters()] == [
        NOON - timedelta(minutes=15),
        NOON,
    ]


# -- events ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (None, session(), "created"),
        (None, session(resumed_from="another"), "resumed"),
        (session(), session(60), "saved"),
        (session(), session(status="paused"), "paused"),
        (session(status="paused"), session(), "resumed"),
        (session(status="abandoned"), session(), "resumed"),
        (session(status="paused"), session(status="abandoned"), "abandoned"),
        (session(status="abandoned"), session(status="completed"), "completed"),
        (session(status="paused"), None, "deleted"),
        (None, None, None),
    ],
)
def test_what_happened_has_one_name(before: Fields | None, after: Fields | None, kind: str | None):
    assert reading.event(before, after) == kind
