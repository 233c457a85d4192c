"""When was read, whoever's version of a session holds: over a real database, as `reading_times` has it."""

from typing import Any

import psycopg

from syncserver.engine.push import Push
from tests.engine.test_effects import NOW, PHONE, TABLET, begun, everything, mutation, one, page, stamp

KEY = "0b2f4a3e-9d1c-4f6a-8e57-2c1d3b4a5f60"


def times(sql: psycopg.Connection) -> list[tuple[float, float]]:
    """When was read, in minutes from NOW, joined."""
    found = sql.execute(
        "SELECT lower(d), upper(d) FROM (SELECT unnest(range_agg(active)) AS d FROM reading_times) t ORDER BY 1"
    )
    return [((start - NOW).total_seconds() / 60, (end - NOW).total_seconds() / 60) for start, end in found]


def pages(sql: psycopg.Connection) -> list[tuple[int, int]]:
    found = sql.execute(
        "SELECT lower(p), upper(p) FROM (SELECT unnest(range_agg(pages)) AS p FROM reading_times) t ORDER BY 1"
    )
    return found.fetchall()


async def test_what_was_read_offline_counts_where_it_lies_though_another_device_wrote_the_session_later(
    push: Push, sql: psycopg.Connection
):
    await push.push(PHONE, [begun(KEY, -120, locator=page(1))])
    await push.push(TABLET, [mutation("patch", KEY, -10, {"state": {"font": "serif"}})])
    acks = await push.push(
        PHONE,
        [
            mutation("patch", KEY, -100, {"active_seconds": 600, "locator": page(11)}),
            mutation("patch", KEY, -70, {"active_seconds": 1200, "locator": page(21)}),
        ],
    )
    assert [ack["status"] for ack in acks] == ["superseded", "superseded"]
    assert times(sql) == [(-110, -100), (-80, -70)]
    assert pages(sql) == [(1, 21)]
    completed = await one(push, PHONE, mutation("complete", KEY, -60))
    assert completed["status"] in {"applied", "merged"}
    [reading] = everything(sql, "readings", "ordinal")
    assert reading["active_seconds"] == 1200


async def test_a_moment_of_last_activity_that_is_told_is_where_the_time_lies(push: Push, sql: psycopg.Connection):
    told: dict[str, Any] = {"active_seconds": 300, "last_activity": stamp(-40)}
    await push.push(PHONE, [begun(KEY, -60), mutation("patch", KEY, -5, told)])
    assert times(sql) == [(-45, -40)]


async def test_who_knows_a_session_may_end_it_earlier_and_it_is_never_longer_than_the_clock_says(
    push: Push, sql: psycopg.Connection
):
    acks = await push.push(PHONE, [begun(KEY, -60), mutation("patch", KEY, -10, {"active_seconds": 3000})])
    shorter = mutation("patch", KEY, -5, {"last_activity": stamp(-30)}, base=acks[1]["offset"])
    assert (await one(push, PHONE, shorter))["status"] == "applied"
    [session] = everything(sql, "reading_sessions", "id")
    assert (session["last_activity"] - session["started_at"]).total_seconds() == 1800
    assert session["active_seconds"] == 1800


async def test_a_position_that_is_no_page_of_any_book_is_kept_and_counts_no_page(push: Push, sql: psycopg.Connection):
    far = 2**31 - 1
    acks = await push.push(
        PHONE,
        [
            begun(KEY, -60, locator=page(far)),
            mutation("patch", KEY, -50, {"active_seconds": 600, "locator": page(far + 5)}),
        ],
    )
    assert [ack["status"] for ack in acks] == ["applied", "applied"]
    assert (times(sql), pages(sql)) == ([(-60, -50)], [])
