"""Stamps: how they are written, read, bounded and made to grow. `now` is always an argument."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, PlainSerializer, WithJsonSchema

AHEAD_LIMIT = timedelta(seconds=2)
DRIFT_LIMIT_S = 300
TICK = timedelta(microseconds=1)
_FIRST = datetime(1, 1, 2, tzinfo=UTC)
_END = datetime(9999, 1, 1, tzinfo=UTC)
_LIKE = "a stamp is a text such as 2026-11-22T08:15:00.000000Z"
_BOUNDS = "a stamp's year lies between 1 and 9998"


def write(stamp: datetime) -> str:
    """RFC 3339, UTC, always with microseconds: `2026-11-22T08:15:00.000000Z`."""
    return stamp.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def read(text: str) -> datetime:
    """An RFC 3339 stamp in UTC; raises ValueError for one without an offset or outside the years 1 to 9998."""
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(_LIKE) from None  # Python's sentence would repeat the text
    if stamp.tzinfo is None:
        raise ValueError("a stamp needs an offset from UTC, such as Z")
    try:
        stamp = stamp.astimezone(UTC)
    except OverflowError:
        raise ValueError(_BOUNDS) from None
    if not _FIRST <= stamp < _END:
        raise ValueError(_BOUNDS)
    return stamp


def clamp(stamp: datetime, now: datetime) -> datetime:
    """A stamp from the future counts as `now` + 2 s: it is never rejected, and never wins for years."""
    return min(stamp, now + AHEAD_LIMIT)


def drift_s(sent_at: datetime, now: datetime) -> float | None:
    """How many seconds a device's clock is ahead (less than 0: behind), where that is worth a warning; else None."""
    ahead_s = round((sent_at - now).total_seconds(), 1)
    return ahead_s if abs(ahead_s) > DRIFT_LIMIT_S else None


def _from_text(value: object) -> object:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or "T" not in value.upper():
        raise ValueError(_LIKE)
    return read(value)


Stamp = Annotated[
    AwareDatetime,
    BeforeValidator(_from_text),
    PlainSerializer(write, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-22T08:15:00.000000Z"]}),
]
