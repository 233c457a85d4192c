"""What a reader has read, asked of the times of reading: sums over sets, so that nothing counts twice.

A quarter of an hour belongs to the local day in which it begins. Nothing here reads sessions' events.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

_ZONES = sa.text("SELECT name FROM pg_timezone_names")
_TODAY = sa.text("SELECT CAST(CAST(:now AS timestamptz) AT TIME ZONE :zone AS date)")

# No zone is ever two days from UTC: the index finds the quarters, and the local day then says which of them count.
_SPENT = sa.text("""
    WITH times AS (
      SELECT CAST(quarter AT TIME ZONE :zone AS date) AS day, publication_id, active, pages
      FROM reading_times
      WHERE owner = :owner AND (CAST(:publication_id AS text) IS NULL OR publication_id = :publication_id)
        AND quarter >= CAST(CAST(:first AS date) - 2 AS timestamp) AT TIME ZONE 'UTC'
        AND quarter < CAST(CAST(:last AS date) + 3 AS timestamp) AT TIME ZONE 'UTC'
    ), daily AS (
      SELECT day, publication_id, range_agg(active) AS active, range_agg(pages) AS pages
      FROM times WHERE day BETWEEN :first AND :last GROUP BY day, publication_id
    ), counted AS (
      SELECT day, publication_id, active, upper(active) AS until,
        (SELECT coalesce(sum(upper(way) - lower(way)), 0) FROM unnest(pages) AS way) AS pages
      FROM daily
    ), summed AS (
      SELECT day, publication_id, range_agg(active) AS active, sum(pages) AS pages, max(until) AS until
      FROM counted GROUP BY GROUPING SETS ((day), (publication_id))
    )
    SELECT day, publication_id, CAST(pages AS bigint), until,
      (SELECT CAST(round(sum(extract(epoch FROM upper(way) - lower(way)))) AS bigint) FROM unnest(active) AS way)
    FROM summed ORDER BY day
""")

_RUNS = sa.text("""
    WITH days AS (
      SELECT DISTINCT CAST(quarter AT TIME ZONE :zone AS date) AS day FROM reading_times
      WHERE owner = :owner AND (CAST(:publication_id AS text) IS NULL OR publication_id = :publication_id)
    ), numbered AS (
      SELECT day, day - CAST(row_number() OVER (ORDER BY day) AS int) AS run FROM days
    )
    SELECT max(day) AS last, count(*) AS days FROM numbered GROUP BY run ORDER BY last
""")

_FINISHED = sa.text("""
    SELECT publication_id, count(*), max(finished_at) FROM readings
    WHERE owner = :owner AND (CAST(:publication_id AS text) IS NULL OR publication_id = :publication_id)
      AND CAST(finished_at AT TIME ZONE :zone AS date) BETWEEN :first AND :last
    GROUP BY publication_id
""")

# Where a publication stands, and the way that was made in it since it was last finished. A row of times that reaches
# past that moment counts whole, unless it is of the very session that finished.
_STANDING = sa.text("""
    SELECT p.id, newest.title, newest.status, newest.percentage, way.span, way.active_seconds
    FROM unnest(CAST(:ids AS text[])) AS p (id)
    LEFT JOIN LATERAL (
      SELECT r.session_id, r.finished_at, r.title FROM readings r WHERE r.owner = :owner AND r.publication_id = p.id
      ORDER BY r.finished_at DESC, r.ordinal DESC LIMIT 1
    ) finished ON true
    CROSS JOIN LATERAL (
      (SELECT 1 AS rank, coalesce(s.title, finished.title) AS title, s.status, s.percentage FROM reading_sessions s
       WHERE s.owner = :owner AND s.publication_id = p.id ORDER BY s.last_activity DESC, s.id DESC LIMIT 1)
      UNION ALL
      (SELECT 2, finished.title, CASE g.status WHEN 'finished' THEN 'completed' END, g.percentage
       FROM reading_progress g WHERE g.owner = :owner AND g.publication_id = p.id)
      UNION ALL
      (SELECT 3, finished.title, NULL, NULL)
      ORDER BY rank LIMIT 1
    ) newest
    CROSS JOIN LATERAL (
      SELECT (SELECT sum(upper(part) - lower(part)) FROM unnest(sets.span) AS part) AS span,
        (SELECT sum(extract(epoch FROM upper(d) - lower(d))) FROM unnest(sets.active) AS d) AS active_seconds
      FROM (
        SELECT range_agg(t.span) AS span, range_agg(t.active) AS active FROM reading_times t
        WHERE t.owner = :owner AND t.publication_id = p.id
          AND t.quarter > coalesce(finished.finished_at, '-infinity') - interval '15 minutes'
          AND (finished.session_id IS NULL OR t.session_id <> finished.session_id
               AND upper(t.active) > finished.finished_at)
      ) sets
    ) way
""")


@dataclass(frozen=True, slots=True)
class Asked:
    """Of whom, in which time zone (a name that PostgreSQL knows), from which local day to which, both counted.

    `publication_id`: of this publication alone; None: of all.
    """

    owner: str
    zone: str
    first: date
    last: date
    publication_id: str | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """The time and the pages of a day (`publication_id` is None) or of a publication (`day` is None)."""

    day: date | None
    publication_id: str | None
    pages: int
    until: datetime
    active_seconds: int


@dataclass(frozen=True, slots=True)
class Run:
    """Days of reading without a gap: the last of them, and how many."""

    last: date
    days: int


@dataclass(frozen=True, slots=True)
class Finished:
    """How often a publication was finished, and when for the last time."""

    publication_id: str
    readings: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a publication stands, and which part of it was read in how many seconds since it was last finished."""

    publication_id: str
    title: str | None
    status: str | None
    percentage: float | None
    span: float | None
    active_seconds: float | None


async def zones(connection: AsyncConnection) -> frozenset[str]:
    """The names of all time zones that this database knows. It opens a file for each: ask once."""
    return frozenset((await connection.execute(_ZONES)).scalars())


async def today(connection: AsyncConnection, zone: str, now: datetime) -> date:
    """The local day."""
    day: date = (await connection.execute(_TODAY, {"zone": zone, "now": now})).scalar_one()
    return day


async def spent(connection: AsyncConnection, asked: Asked) -> list[Spent]:
    """Every day with any reading, ascending, and every publication: of one snapshot, so that they add up."""
    return [Spent(*row) for row in await connection.execute(_SPENT, _arguments(asked))]


async def runs(connection: AsyncConnection, asked: Asked) -> list[Run]:
    """All runs of days, the oldest first, whatever days are asked for."""
    return [Run(*row) for row in await connection.execute(_RUNS, _arguments(asked))]


async def finished(connection: AsyncConnection, asked: Asked) -> list[Finished]:
    """The publications that were finished."""
    return [Finished(*row) for row in await connection.execute(_FINISHED, _arguments(asked))]


async def standings(connection: AsyncConnection, owner: str, ids: Sequence[str]) -> list[Standing]:
    """Where these publications stand now."""
    found = await connection.execute(_STANDING, {"owner": owner, "ids": list(ids)})
    return [Standing(*row[:4], *map(_number, row[4:])) for row in found]


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))


def _arguments(asked: Asked) -> dict[str, object]:
    return {
        "owner": asked.owner,
        "zone": asked.zone,
        "first": asked.first,
        "last": asked.last,
        "publication_id": asked.publication_id,
    }
