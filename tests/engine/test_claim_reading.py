"""A visitor becomes a reader, with all that was read: sessions, events, readings, and when it was."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg

from tests.engine.test_claim import ADA, NOW, VISITOR, by, claim, owned, pushed, put, session

Raw = dict[str, Any]
__all__ = ["claim", "session"]  # fixtures
_TIME = """
    SELECT (SELECT sum(extract(epoch FROM upper(d) - lower(d))) FROM unnest(range_agg(active)) AS d)::int,
      (SELECT sum(upper(p) - lower(p)) FROM unnest(range_agg(pages)) AS p)::int
    FROM reading_times WHERE owner = ANY(%s)
"""


def reading(op: str, key: str, at: float, **fields: Any) -> Raw:
    return {**put(key, 0, at), "resource": "reading_sessions", "op": op, "data": fields or None}


def page(position: int) -> Raw:
    return {"href": "moby.xhtml", "type": "text/html", "locations": {"position": position}}


def read_through(at: float, seconds: int, **fields: Any) -> list[Raw]:
    key = str(uuid4())
    return [
        reading("put", key, at, publication_id="moby", locator=page(1), **fields),
        reading("complete", key, at + seconds / 60, active_seconds=seconds, locator=page(1 + seconds // 60)),
    ]


async def test_reading_sessions_their_events_readings_and_times_are_the_readers(push, claim, session, sql):
    await pushed(push, by(VISITOR), *read_through(-100, 600, title="Moby-Dick", state={"font": "serif"}))
    kept = [everything(sql, table, VISITOR) for table in ("reading_sessions", "session_events", "reading_times")]
    [made] = everything(sql, "readings", VISITOR)

    await claim.claim(ADA, session)

    assert [everything(sql, table, ADA) for table in ("reading_sessions", "session_events", "reading_times")] == kept
    assert everything(sql, "readings", ADA) == [made]
    assert made["active_seconds"] == 600
    assert owned(sql, VISITOR) == {}


def everything(sql: psycopg.Connection, table: str, owner: str) -> list[Raw]:
    """The rows of a table, but for whose they are."""
    found = sql.execute(f"SELECT to_jsonb(t) - 'owner' FROM {table} t WHERE owner = %s ORDER BY 1".encode(), [owner])
    return [row for (row,) in found]


async def test_readings_of_a_publication_that_the_reader_has_finished_too_are_numbered_on(push, claim, session, sql):
    await pushed(push, by(VISITOR), *read_through(-300, 600), *read_through(-200, 600))
    await pushed(push, by(ADA, "tablet"), *read_through(-100, 600))
    await claim.claim(ADA, session)
    ordinals = sql.execute("SELECT ordinal, device_id FROM readings WHERE owner = %s ORDER BY 1", [ADA]).fetchall()
    assert ordinals == [(1, "tablet"), (2, "phone"), (3, "phone")]


async def test_times_of_both_houses_count_once_where_they_overlap_and_else_add_up(push, claim, session, sql):
    await pushed(push, by(VISITOR), *read_through(-100, 1200), *read_through(-50, 600))
    await pushed(push, by(ADA, "tablet"), *read_through(-90, 1200))
    before = sql.execute(_TIME, [[ADA, VISITOR]]).fetchall()
    await claim.claim(ADA, session)
    assert sql.execute(_TIME, [[ADA]]).fetchall() == before == [(1800 + 600, 20)]


async def test_a_session_in_both_houses_has_the_times_of_both_and_one_reading(push, claim, session, sql):
    key = str(uuid4())
    theirs = reading("put", key, -60, publication_id="moby", active_seconds=600, started_at=_at(-70))
    ours = reading("put", key, -30, publication_id="moby", active_seconds=300, started_at=_at(-70))
    await pushed(push, by(VISITOR), theirs, reading("complete", key, -55))
    await pushed(push, by(ADA, "tablet"), ours)
    assert (await claim.claim(ADA, session)).conflicts >= 1
    assert sql.execute(_TIME, [[ADA]]).fetchall()[0][0] == 900
    assert sql.execute("SELECT status FROM reading_sessions").fetchall() == [("completed",)]
    assert sql.execute("SELECT owner, session_id::text FROM readings").fetchall() == [(ADA, key)]
    assert owned(sql, VISITOR) == {}


def _at(minutes: float) -> str:
    return (NOW + timedelta(minutes=minutes)).isoformat()


async def test_a_session_that_went_on_from_another_still_does_after_the_claim(push, claim, session, sql):
    former, new = str(uuid4()), str(uuid4())
    await pushed(push, by(VISITOR), reading("put", former, -60, publication_id="moby", active_seconds=0))
    await pushed(push, by(VISITOR, "tablet"), reading("put", new, -50, publication_id="moby", resumed_from=former))
    await claim.claim(ADA, session)
    await pushed(push, by(ADA, "tablet"), reading("complete", new, -40, active_seconds=300))
    [made] = everything(sql, "readings", ADA)
    assert (made["session_id"], made["active_seconds"]) == (new, 300)
    assert datetime.fromisoformat(made["started_at"]) == NOW - timedelta(minutes=60)
