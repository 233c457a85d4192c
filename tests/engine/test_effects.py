"""What follows from writes of a reading session, over a real database: all of it in the transaction of the write."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.rows import dict_row

from syncserver.core.actor import Device
from syncserver.engine.decide import Sender
from syncserver.engine.push import Push

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
Raw = dict[str, Any]


def sender(device: str, owner: str = "user:ada") -> Sender:
    return Sender(owner, Device(device, f"Ada's {device}"), f"client of {device}")


PHONE, TABLET = sender("phone"), sender("tablet")


def stamp(minutes: float) -> str:
    return (NOW + timedelta(minutes=minutes)).isoformat()


def mutation(op: str, key: str, at: float, data: Raw | None = None, **more: Any) -> Raw:
    return {
        "mutation_id": str(uuid4()),
        "resource": "reading_sessions",
        "key": key,
        "op": op,
        "updated_at": stamp(at),
        "data": data,
        **more,
    }


def begun(key: str, at: float = -60, **fields: Any) -> Raw:
    return mutation("put", key, at, {"publication_id": "moby", **fields})


def page(position: int) -> Raw:
    return {"href": "moby.xhtml", "type": "application/xhtml+xml", "locations": {"position": position}}


async def one(door: Push, who: Sender, raw: Raw) -> Raw:
    (ack,) = await door.push(who, [raw])
    return ack


def everything(sql: psycopg.Connection, table: str, order: str) -> list[Raw]:
    with sql.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(f"SELECT * FROM {table} ORDER BY {order}".encode()).fetchall()


def events(sql: psycopg.Connection) -> list[tuple[str, str]]:
    return sql.execute("SELECT type, device_id FROM session_events ORDER BY at, id").fetchall()


async def test_a_completed_session_leaves_its_reading_its_events_and_a_finished_progress(
    push: Push, sql: psycopg.Connection
):
    session = str(uuid4())
    acks = await push.push(
        PHONE,
        [
            begun(session, -60, locator=page(1), percentage=0.1, state={"font": "serif"}),
            mutation("patch", session, -50, {"active_seconds": 600, "locator": page(11), "percentage": 0.2}),
            mutation("complete", session, -40, {"active_seconds": 900, "percentage": 0.99}),
        ],
    )
    assert [ack["status"] for ack in acks] == ["applied"] * 3
    assert events(sql) == [("created", "phone"), ("saved", "phone"), ("completed", "phone")]
    (reading,) = everything(sql, "readings", "ordinal")
    assert (reading["ordinal"], reading["active_seconds"], reading["publication_id"]) == (1, 900, "moby")
    assert (reading["started_at"], reading["finished_at"]) == (NOW - timedelta(hours=1), NOW - timedelta(minutes=40))
    assert reading["session"]["state"] == {"font": "serif"}
    assert reading["session"]["status"] == "completed"
    (progress,) = everything(sql, "reading_progress", "publication_id")
    assert (progress["status"], progress["percentage"], progress["device_id"]) == ("finished", 0.99, "phone")


async def test_to_complete_it_twice_gives_the_same_reading(push: Push, sql: psycopg.Connection):
    session = str(uuid4())
    await push.push(PHONE, [begun(session), mutation("complete", session, -50)])
    before = everything(sql, "readings", "ordinal")
    again = await one(push, TABLET, mutation("complete", session, -10, {"percentage": 0.3}))
    assert (again["status"], again["row"]["data"] is not None) == ("superseded", True)
    late = await one(push, PHONE, mutation("patch", session, -5, {"percentage": 0.4}))
    assert late["status"] == "superseded"
    assert everything(sql, "readings", "ordinal") == before
    assert ("conflict", "tablet") in events(sql)


async def test_another_device_goes_on_where_the_former_session_was_left_which_is_told_so(
    push: Push, sql: psycopg.Connection
):
    former, new = str(uuid4()), str(uuid4())
    acks = await push.push(
        PHONE, [begun(former, -60, locator=page(7), percentage=0.3, title="Moby-Dick", state={"zoom": 2})]
    )
    (resumed,) = await push.push(TABLET, [begun(new, -30, resumed_from=former)])
    assert (acks[0]["status"], resumed["status"]) == ("applied", "applied")
    first, second = everything(sql, "reading_sessions", "started_at")
    assert (str(first["resumed_as"]), first["status"]) == (new, "paused")
    assert (str(second["resumed_from"]), second["status"], second["state"]) == (former, "active", {"zoom": 2})
    assert (second["start_percentage"], second["percentage"], second["title"]) == (0.3, 0.3, "Moby-Dick")
    assert second["active_seconds"] == 0
    assert events(sql) == [("created", "phone"), ("moved", "tablet"), ("resumed", "tablet")] or events(sql) == [
        ("created", "phone"),
        ("resumed", "tablet"),
        ("moved", "tablet"),
    ]


async def test_a_reading_has_the_time_of_all_sessions_it_went_through_and_none_twice(
    push: Push, sql: psycopg.Connection
):
    former, new = str(uuid4()), str(uuid4())
    await push.push(PHONE, [begun(former, -60), mutation("patch", former, -30, {"active_seconds": 1800})])
    await push.push(
        TABLET,
        [begun(new, -45, resumed_from=former), mutation("complete", new, -20, {"active_seconds": 1500})],
    )
    (reading,) = everything(sql, "readings", "ordinal")
    assert reading["active_seconds"] == 40 * 60, "from -60 to -30, and from -45 to -20"
    assert reading["started_at"] == NOW - timedelta(hours=1)
