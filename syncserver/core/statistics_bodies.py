"""The body of GET /api/v1/stats: time, pages, streaks and pace."""

import datetime as dt
import re
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field

from syncserver.core.values import Model

Count = Annotated[int, Field(ge=0)]


def _written(value: object) -> object:
    """A day as RFC 3339 writes it; pydantic alone would take a number of seconds for one, too."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value, re.ASCII):
        raise ValueError("a day is a text such as 2026-11-22")
    return value


Day = Annotated[dt.date, BeforeValidator(_written)]


class DayRead(Model):
    """A local day on which something was read."""

    date: dt.date
    active_seconds: Count
    pages: Count


class PublicationRead(Model):
    """What was read of a publication in the days asked for, where it stands now, and how long the rest will take.

    `percentage` is 0 to 1; `pace_per_hour` is the part of it that an hour of reading brings, such as 0.05.
    """

    publication_id: str
    title: str | None
    active_seconds: Count
    pages: Count
    percentage: float | None
    pace_per_hour: float | None
    seconds_left: Count | None
    readings: Count


class Streak(Model):
    """Days in a row: up to today (or to yesterday, while today is not over), and at most ever."""

    current_days: Count
    longest_days: Count


class StatsAnswer(Model):
    """GET /api/v1/stats. `from` and `to` are local days, both counted."""

    model_config = ConfigDict(populate_by_name=True)

    time_zone: str
    from_: Annotated[dt.date, Field(alias="from")]
    to: dt.date
    days: list[DayRead]
    active_seconds: Count
    pages: Count
    publications: list[PublicationRead]
    publications_left_out: Count
    streak: Streak
    readings: Count
