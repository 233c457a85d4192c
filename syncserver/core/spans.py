"""Sets of time in whole seconds: what is told twice counts once."""

from collections.abc import Iterable, Sequence
from datetime import datetime

Span = tuple[datetime, datetime]
"""From and to, in whole seconds; never empty."""


def union(spans: Iterable[Sequence[datetime]]) -> list[Span]:
    """These spans in order, fractions of seconds cut off, those that overlap or touch made one, empty ones left out."""
    found: list[Span] = []
    for start, end in sorted((_whole(span[0]), _whole(span[1])) for span in spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif start < end:
            found.append((start, end))
    return found


def until(spans: Iterable[Span], end: datetime) -> list[Span]:
    """What of these lies before `end`."""
    return [(start, min(stop, end)) for start, stop in spans if start < end]


def seconds(spans: Iterable[Span]) -> int:
    """How long these are together; they must not overlap."""
    return sum(int((end - start).total_seconds()) for start, end in spans)


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
