"""What a save of a reading session says of the time spent and the way made: pure arithmetic, in whole seconds.

The seconds that a save adds were spent just before its last activity. They are kept in quarters of an hour, because
every time zone's day begins with one; as sets, so that whatever is told twice, or by two devices, counts once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from syncserver.core import clock

QUARTER = timedelta(minutes=15)
PAGES_PER_S = 1
SPAN_PER_S = 0.01
"""Who goes on faster than a page, or a hundredth of the publication, in a second is not reading but looking for."""

PAGE_MAX = 2**31 - 1
"""What sets of pages can hold; a position past that may be anything, but no page."""

STEP_MAX_S = 86_400
"""Of what one save adds, a day is counted: nobody reads for longer, and each quarter of an hour is a row."""

Interval = tuple[datetime, datetime]
_N = TypeVar("_N", int, float)


@dataclass(frozen=True, slots=True)
class Step:
    """What one save adds: when was read, which pages (from, to), and which part of the publication (from, to)."""

    active: Interval
    pages: tuple[int, int] | None = None
    span: tuple[float, float] | None = None

    def quarters(self) -> Iterator[tuple[datetime, Interval]]:
        """The time in pieces, each with the quarter of an hour that it lies in."""
        start, end = self.active
        while start < end:
            quarter = _quarter(start)
            until = min(end, quarter + QUARTER)
            yield quarter, (start, until)
            start = until


def step(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Step | None:
    """What the fields `after` add to those `before` (None: a new session); None where no time passed in them."""
    seconds = min(STEP_MAX_S, after["active_seconds"] - (before["active_seconds"] if before else 0))
    if seconds <= 0:
        return None
    end = clock.read(after["last_activity"])
    earlier = before or {"locator": after["start_locator"], "percentage": after["start_percentage"]}
    return Step(
        (end - timedelta(seconds=seconds), end),
        _way(_page(earlier), _page(after), seconds * PAGES_PER_S),
        _way(earlier["percentage"], after["percentage"], seconds * SPAN_PER_S),
    )


def _quarter(moment: datetime) -> datetime:
    start = moment.astimezone(UTC)
    return start.replace(minute=start.minute // 15 * 15, second=0, microsecond=0)


def _page(fields: Mapping[str, Any]) -> int | None:
    locations = (fields["locator"] or {}).get("locations") or {}
    page: int | None = locations.get("position")
    return None if page is None or page > PAGE_MAX else page


def _way(start: _N | None, end: _N | None, most: float) -> tuple[_N, _N] | None:
    """From `start` to `end`, if that leads forward and was read; else None."""
    if start is None or end is None or not start < end <= start + most:
        return None
    return (start, end)


def event(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str | None:
    """What happened to a session, as its log calls it; None where it neither was nor is."""
    if after is None:
        return "deleted" if before else None
    if before is None:
        return "resumed" if after["resumed_from"] else "created"
    if before["status"] == after["status"]:
        return "saved"
    return "resumed" if after["status"] == "active" else str(after["status"])
