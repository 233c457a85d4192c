"""What a reader wants to know: time and pages per day and per publication, streaks, pace, time left at this pace.

Everything is asked of the times of reading, in the reader's own time zone; docs/statistics.md defines each figure.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.errors import Invalid
from syncserver.core.statistics_bodies import DayRead, PublicationRead, StatsAnswer, Streak
from syncserver.storage import statistics
from syncserver.storage.database import Database
from syncserver.storage.statistics import Asked, Finished, Run, Spent, Standing

DAYS = 366
DAYS_MAX = 3_660
PUBLICATIONS_MAX = 500
_HOUR_S = 3_600


class Statistics:
    """Over one database. `at_once`: how many answers are worked out at the same time; others wait."""

    def __init__(self, database: Database, now: Callable[[], datetime], *, at_once: int = 2) -> None:
        self._database = database
        self._now = now
        self._room = asyncio.Semaphore(at_once)
        self._zones: frozenset[str] = frozenset()

    async def of(
        self,
        owner: str,
        zone: str = "UTC",
        *,
        first: date | None = None,
        last: date | None = None,
        publication_id: str | None = None,
    ) -> StatsAnswer:
        """The statistics of these local days (left out: the last 366), of one publication or of all.

        Raises Invalid for a zone that the database does not know and for days that are none; Unavailable.
        """
        async with self._room:
            await self._known(zone)
            async with self._database.transaction([owner]) as connection:
                today = await statistics.today(connection, zone, self._now())
                first, last = days(first, last, today)
                return await _answer(connection, Asked(owner, zone, first, last, publication_id), today)

    async def _known(self, zone: str) -> None:
        if not self._zones:
            async with self._database.transaction([]) as connection:
                self._zones = await statistics.zones(connection)
        if zone not in self._zones:
            raise _invalid("time_zone", "no time zone of this name is known, such as Europe/Berlin")


async def _answer(connection: AsyncConnection, asked: Asked, today: date) -> StatsAnswer:
    spent = await statistics.spent(connection, asked)
    finished = {found.publication_id: found for found in await statistics.finished(connection, asked)}
    read = {one.publication_id: one for one in spent if one.publication_id is not None}
    ids = newest_first(read, finished)
    listed = ids[:PUBLICATIONS_MAX]
    standings = {s.publication_id: s for s in await statistics.standings(connection, asked.owner, listed)}
    by_day = [one for one in spent if one.day is not None]
    return StatsAnswer(
        time_zone=asked.zone,
        from_=asked.first,
        to=asked.last,
        days=[DayRead(date=one.day, active_seconds=one.active_seconds, pages=one.pages) for one in by_day if one.day],
        active_seconds=sum(one.active_seconds for one in by_day),
        pages=sum(one.pages for one in by_day),
        publications=[publication(standings[name], read.get(name), finished.get(name)) for name in listed],
        publications_left_out=len(ids) - len(listed),
        streak=streak(await statistics.runs(connection, asked), today),
        readings=sum(found.readings for found in finished.values()),
    )


def days(first: date | None, last: date | None, today: date) -> tuple[date, date]:
    """The first and the last day that are meant; raises Invalid where the one is past the other, or too far before."""
    last = last or today
    if first is None:
        first = date.fromordinal(max(1, last.toordinal() - DAYS + 1))
    if first > last:
        raise _invalid("from", "a day after `to`")
    if (last - first).days >= DAYS_MAX:
        raise _invalid("from", f"more than {DAYS_MAX} days before `to`")
    return first, last


def newest_first(read: Mapping[str, Spent], finished: Mapping[str, Finished]) -> list[str]:
    """The publications that were read or finished, the most recent first."""
    latest = {name: found.at for name, found in finished.items()}
    for name, one in read.items():
        latest[name] = max(one.until, latest.get(name, one.until))
    return sorted(latest, key=lambda name: (latest[name], name), reverse=True)


def publication(standing: Standing, read: Spent | None, finished: Finished | None) -> PublicationRead:
    """What is said of one publication."""
    pace = pace_per_hour(standing)
    return PublicationRead(
        publication_id=standing.publication_id,
        title=standing.title,
        active_seconds=read.active_seconds if read else 0,
        pages=read.pages if read else 0,
        percentage=standing.percentage,
        pace_per_hour=pace,
        seconds_left=seconds_left(standing, pace),
        readings=finished.readings if finished else 0,
    )


def pace_per_hour(standing: Standing) -> float | None:
    """Which part of the publication an hour of reading brings; None where no way was made."""
    if not standing.span or not standing.active_seconds:
        return None
    return standing.span / standing.active_seconds * _HOUR_S


def seconds_left(standing: Standing, pace: float | None) -> int | None:
    """The time that the rest takes at this pace; None where that is unknown, and where it is finished."""
    if pace is None or standing.percentage is None or standing.status == "completed":
        return None
    return round((1 - standing.percentage) / pace * _HOUR_S)


def streak(runs: Sequence[Run], today: date) -> Streak:
    """The longest of all runs of days (oldest first), and the last one, if it came to today or to yesterday."""
    current = runs[-1].days if runs and runs[-1].last >= today - timedelta(days=1) else 0
    return Streak(current_days=current, longest_days=max((run.days for run in runs), default=0))


def _invalid(name: str, detail: str) -> Invalid:
    return Invalid(f"/query/{name}: {detail}", [{"pointer": f"/query/{name}", "detail": detail}])
