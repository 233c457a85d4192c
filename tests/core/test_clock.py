from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from syncserver.core import clock

NOW = datetime(2026, 11, 22, 8, 15, tzinfo=UTC)
_offsets = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_stamps = st.datetimes(datetime(1, 1, 3), datetime(9998, 12, 30, 23, 59, 59, 999_999), timezones=_offsets)  # noqa: DTZ001 - hypothesis adds the zone


class Held(BaseModel):
    at: clock.Stamp


@given(_stamps)
def test_a_stamp_comes_back_as_the_same_moment_whatever_its_offset(stamp: datetime):
    text = clock.write(stamp)
    assert clock.read(text) == stamp
    assert clock.write(clock.read(text)) == text
    assert (len(text), text[-8], text[-1]) == (27, ".", "Z")


@given(_stamps)
def test_what_was_read_can_be_written_and_read_again(stamp: datetime):
    read = clock.read(stamp.isoformat())
    assert read.utcoffset() == timedelta(0)
    assert clock.read(clock.write(read)) == read == stamp


def test_stamps_are_written_as_rfc_3339_in_utc_with_microseconds():
    assert clock.write(datetime(2026, 11, 22, 9, 15, tzinfo=timezone(timedelta(hours=1)))) == (
        "2026-11-22T08:15:00.000000Z"
    )
    assert clock.write(datetime(7, 1, 2, tzinfo=UTC)) == "0007-01-02T00:00:00.000000Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-11-22",
        "2026-11-22T08:15:00",
        "2026-13-22T08:15:00Z",
        "9999-01-01T00:00:00Z",
        "9998-12-31T23:59:59-00:01",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "0001-01-02T00:00:00+00:01",
        "2026-11-22T08:15:00+24:00",
        "1763799300",
    ],
)
def test_a_text_that_is_no_moment_is_refused_without_being_repeated(text: str):
    with pytest.raises(ValueError, match="stamp") as refused:
        clock.read(text)
    assert not text or text not in str(refused.value)


@pytest.mark.parametrize("value", ["2026-11-22", "2026-11-22 08:15:00Z", "garbage", 1763799300, 1.5, True, None, []])
def test_on_the_wire_a_stamp_is_a_text_with_date_time_and_offset(value: object):
    with pytest.raises(ValidationError):
        Held.model_validate({"at": value})


def test_a_model_reads_and_writes_stamps():
    held = Held.model_validate({"at": "2026-11-22T09:15:00+01:00"})
    assert held.at == NOW
    assert held.model_dump(mode="json") == {"at": "2026-11-22T08:15:00.000000Z"}
    assert Held(at=NOW) == held
    with pytest.raises(ValidationError):
        Held(at=NOW.replace(tzinfo=None))


@given(_stamps)
def test_a_stamp_from_the_future_counts_as_two_seconds_ahead_and_no_other_is_touched(stamp: datetime):
    bounded = clock.clamp(stamp, NOW)
    assert bounded == (min(stamp, NOW + timedelta(seconds=2)))


@pytest.mark.parametrize(
    ("ahead_s", "said"), [(0, None), (299.9, None), (-300, None), (300.14, 300.1), (-86_400, -86_400)]
)
def test_a_clock_is_worth_a_warning_past_five_minutes(ahead_s: float, said: float | None):
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert clock.drift_s(now + timedelta(seconds=ahead_s), now) == said
