"""What follows from a reading session's writes: its events, the times of reading, and the reading that it becomes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import clock
from syncserver.core.reading import Step
from syncserver.storage.changes import row_as_json
from syncserver.storage.resource import Resource

_EVENTS = sa.text("""
    INSERT INTO session_events (owner, id, session_id, type, at, device_id, device_name, data, updated_at)
    SELECT owner, id, session_id, type, at, device_id, device_name, coalesce(data, '{}'), at
    FROM jsonb_to_recordset(CAST(:events AS jsonb)) AS r (owner text, id uuid, session_id uuid, type text,
      at timestamptz, device_id text, device_name text, data jsonb)
    ORDER BY owner, id
""")

# Sets: whatever is told twice, or by two devices at once, counts once.
_TIMES = sa.text("""
    INSERT INTO reading_times AS t (owner, session_id, quarter, publication_id, active, pages, span)
    SELECT owner, session_id, quarter, publication_id, active, pages, span
    FROM jsonb_to_recordset(CAST(:times AS jsonb)) AS r (owner text, session_id uuid, quarter timestamptz,
      publication_id text, active tstzmultirange, pages int4multirange, span nummultirange)
    ORDER BY owner, session_id, quarter
    ON CONFLICT (owner, session_id, quarter) DO UPDATE SET
      active = t.active + excluded.active, pages = t.pages + excluded.pages, span = t.span + excluded.span
""")

_RESUMED = sa.text("""
    UPDATE reading_sessions s SET
      resumed_as = r.id,
      status = CASE s.status WHEN 'active' THEN 'paused' ELSE s.status END,
      updated_at = s.updated_at + interval '1 microsecond'
    FROM unnest(CAST(:owners AS text[]), CAST(:former AS uuid[]), CAST(:ids AS uuid[])) AS r (owner, former, id)
    WHERE s.owner = r.owner AND s.id = r.former AND s.status <> 'completed'
    RETURNING s.owner, s.id::text, s.resumed_as::text
""")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a reading session."""

    id: str
    owner: str
    session_id: str
    type: str
    at: datetime
    device_id: str | None
    device_name: str | None
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spent:
    """A step of a session of this publication."""

    owner: str
    session_id: str
    publication_id: str
    step: Step


async def record(connection: AsyncConnection, events: Sequence[Event]) -> None:
    """Add these to the logs of their sessions."""
    if events:
        await connection.execute(_EVENTS, {"events": orjson.dumps(list(events)).decode()})


async def spend(connection: AsyncConnection, spent: Sequence[Spent]) -> None:
    """Add these to the times of reading; at most one of each session."""
    times = [time for one in spent for time in _times(one)]
    if times:
        await connection.execute(_TIMES, {"times": orjson.dumps(times).decode()})


def _times(spent: Spent) -> list[dict[str, Any]]:
    """The step in quarters of an hour; the way that was made belongs to the last."""
    step = spent.step
    pieces = list(step.quarters())
    return [
        {
            "owner": spent.owner,
            "session_id": spent.session_id,
            "publication_id": spent.publication_id,
            "quarter": clock.write(quarter),
            "active": f"{{[{clock.write(start)},{clock.write(end)})}}",
            "pages": _set(step.pages) if number == len(pieces) - 1 else "{}",
            "span": _set(step.span) if number == len(pieces) - 1 else "{}",
        }
        for number, (quarter, (start, end)) in enumerate(pieces)
    ]


def _set(way: tuple[float, float] | None) -> str:
    return f"{{[{way[0]},{way[1]})}}" if way else "{}"


async def resumed(connection: AsyncConnection, sessions: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Note in sessions that others went on from them: (owner, id, id of the other); those of which that could be noted.

    One that was active rests from now on; one that is completed stays as it is.
    """
    if not sessions:
        return []
    owners, former, ids = map(list, zip(*sessions, strict=True))
    found = await connection.execute(_RESUMED, {"owners": owners, "former": former, "ids": ids})
    return [(row[0], row[1], row[2]) for row in found]


@lru_cache
def _finish(sessions: Resource) -> sa.TextClause:
    """A reading holds its session as the wire has it; its time is that of all sessions which it went through."""
    return sa.text(f"""
        INSERT INTO readings (owner, session_id, publication_id, title, started_at, finished_at, active_seconds,
          session, device_id, device_name, updated_at)
        SELECT s.owner, s.id, s.publication_id, s.title, whole.started_at, s.completed_at, whole.active_seconds,
          CAST({row_as_json(sessions, "s")} AS jsonb), s.device_id, s.device_name, s.updated_at
        FROM unnest(CAST(:owners AS text[]), CAST(:ids AS uuid[])) AS k (owner, id)
        JOIN reading_sessions s ON s.owner = k.owner AND s.id = k.id AND s.status = 'completed'
        CROSS JOIN LATERAL (
          WITH RECURSIVE chain (id, resumed_from, started_at) AS (
            SELECT s.id, s.resumed_from, s.started_at
            UNION SELECT p.id, p.resumed_from, p.started_at FROM chain JOIN reading_sessions p
              ON p.owner = s.owner AND p.id = chain.resumed_from AND p.publication_id = s.publication_id
                AND p.status <> 'completed'
          ), read (during) AS (
            SELECT unnest(range_agg(t.active)) FROM reading_times t
            WHERE t.owner = s.owner AND t.session_id IN (SELECT id FROM chain)
          )
          SELECT (SELECT min(started_at) FROM chain) AS started_at,
            (SELECT coalesce(round(sum(extract(epoch FROM upper(during) - lower(during)))), 0) FROM read)::int
              AS active_seconds
        ) whole
        ORDER BY s.owner, s.id
        ON CONFLICT (owner, session_id) DO NOTHING
        RETURNING owner, session_id::text
    """)


async def finish(
    connection: AsyncConnection, sessions: Resource, completed: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Make the readings of these completed sessions (owner, id) that have none; those that were made."""
    if not completed:
        return []
    owners, ids = map(list, zip(*completed, strict=True))
    return [(row[0], row[1]) for row in await connection.execute(_finish(sessions), {"owners": owners, "ids": ids})]
