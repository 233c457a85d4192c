"""What follows from messages, over a real database: a conversation is raised, not its title, and goes with them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from syncserver.core.actor import Device, session_owner
from syncserver.engine.claim import Claim
from syncserver.engine.decide import Sender
from syncserver.engine.pull import Pull
from syncserver.engine.push import Push
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog
from syncserver.storage.threads import Span

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
Raw = dict[str, Any]


def sender(device: str, owner: str = "user:ada") -> Sender:
    return Sender(owner, Device(device, f"Ada's {device}"), f"client of {device}")


PHONE, TABLET = sender("phone"), sender("tablet")


def moment(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def mutation(op: str, resource: str, key: object, at: float, data: Raw | None = None, **more: Any) -> Raw:
    made = {"mutation_id": str(uuid4()), "resource": resource, "key": key, "op": op, "data": data}
    return {**made, "updated_at": moment(at).isoformat(), **more}


def titled(key: object, at: float, title: str, op: str = "put", **more: Any) -> Raw:
    return mutation(op, "conversations", key, at, {"title": title}, **more)


def said(home: object, at: float, content: str = "Hi", key: object = None, **more: Any) -> Raw:
    data = {"conversation_id": home, "role": "user", "content": content}
    return mutation("put", "messages", key or str(uuid4()), at, data, **more)


def grown(key: str, at: float, content: str, **more: Any) -> Raw:
    return mutation("patch", "messages", key, at, {"content": content}, **more)


async def one(door: Push, who: Sender, raw: Raw) -> Raw:
    (ack,) = await door.push(who, [raw])
    return ack


async def all_applied(door: Push, who: Sender, *raws: Raw) -> list[Raw]:
    acks = await door.push(who, raws)
    assert {ack["status"] for ack in acks} <= {"applied", "merged"}, acks
    return acks


def rows(sql: psycopg.Connection, table: str, order: str = "created_at, id") -> list[Raw]:
    with sql.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(f"SELECT * FROM {table} ORDER BY {order}".encode()).fetchall()


def conversation(sql: psycopg.Connection) -> Raw:
    (row,) = rows(sql, "conversations")
    return row


def log(sql: psycopg.Connection, after: int = 0, owner: str = "user:ada") -> list[tuple[str, str, str]]:
    found = sql.execute(
        'SELECT resource, key, op FROM changes WHERE owner = %s AND "offset" > %s ORDER BY "offset"', [owner, after]
    )
    return found.fetchall()


def head(sql: psycopg.Connection, owner: str = "user:ada") -> int:
    row = sql.execute("SELECT head FROM channels WHERE owner = %s", [owner]).fetchone()
    return row[0] if row else 0


def conflicts(sql: psycopg.Connection) -> list[tuple[str, str]]:
    return sql.execute("SELECT winner->'fields'->>'title', loser->'fields'->>'title' FROM conflicts").fetchall()


# -- the raise ---------------------------------------------------------------


async def test_a_message_raises_its_conversation_in_its_own_transaction(push: Push, sql: psycopg.Connection):
    home, message = str(uuid4()), str(uuid4())
    await all_applied(push, PHONE, titled(home, -60, "On Ahab"))
    (ack,) = await all_applied(push, TABLET, said(home, -30, key=message))
    row = conversation(sql)
    assert (row["updated_at"], row["titled_at"], row["device_id"]) == (moment(-30), moment(-60), "phone")
    assert row["title_offset"] == 1
    assert log(sql) == [("messages", message, "put"), ("conversations", home, "put")]
    assert ack["offset"] == 2
    both = sql.execute("SELECT DISTINCT xmin::text FROM conversations UNION SELECT xmin::text FROM messages").fetchall()
    assert len(both) == 1


async def test_only_what_is_newer_raises_it(push: Push, sql: psycopg.Connection):
    home = str(uuid4())
    await all_applied(push, PHONE, titled(home, -60, "On Ahab"), said(home, -30))
    before = head(sql)
    await all_applied(push, PHONE, said(home, -40), said(home, -50))
    assert conversation(sql)["updated_at"] == moment(-30)
    assert head(sql) == before + 2


async def test_many_messages_of_one_batch_raise_it_once(push: Push, sql: psycopg.Connection):
    home = str(uuid4())
    await all_applied(push, PHONE, titled(home, -60, "On Ahab"), *(said(home, -30 + n) for n in range(20)))
    assert conversation(sql)["updated_at"] == moment(-11)
    assert head(sql) == 1 + 20 + 1


async def test_a_message_that_grows_raises_it_once_a_second(push: Push, sql: psycopg.Connection):
    home, message = str(uuid4()), str(uuid4())
    await all_applied(push, PHONE, titled(home, -60, "On Ahab"), said(home, -30, "a", message))
    raised = []
    for number in range(1, 81):
        at = -30 + number / 20 / 60
        await all_applied(push, PHONE, grown(message, at, "a" * number))
        raised.append(conversation(sql)["updated_at"])
    assert len(set(raised)) == 4
    assert raised[-1] <= moment(-30 + 4 / 60) < raised[-1] + timedelta(seconds=1.1)
    (row,) = rows(sql, "messages")
    assert (row["content"], row["created_at"]) == ("a" * 80, moment(-30))


async def test_a_patch_that_changes_no_content_raises_nothing(push: Push, sql: psycopg.Connection):
    home, message = str(uuid4()), str(uuid4())
    await all_applied(push, PHONE, titled(home, -60, "On Ahab"), said(home, -30, "a", message))
    await all_applied(push, PHONE, grown(message, -10, "a"))
    assert conversation(sql)["updated_at"] == moment(-30)


# -- the title against messages ----------------------------------------------


async def test_a_title_changed_offline_does_not_lose_to_a_message_that_came_after(push: Push, sql: psycopg.Connection):
    home = str(uuid4())
    (begun,) = await all_applied(push, PHONE, titled(home, -60, "On Ahab"))
    await all_applied(push, TABLET, said(home, -5))
    ack = await one(push, PHONE, titled(home, -10, "On Starbuck", "patch", base=begun["offset"]))
    assert (ack["status"], ack.get("conflict_id")) == ("applied", None)
    row = conversation(sql)
    assert (row["title"], row["titled_at"], row["updated_at"]) == ("On Starbuck", moment(-10), moment(-5))
    assert row["title_offset"] is None
    assert sql.execute("SELECT updated_at FROM changes WHERE resource = 'conversations'").fetchone() == (moment(-5),)


async def test_who_knew_the_title_is_in_no_conflict_with_messages(push: Push, sql: psycopg.Connection):
    home = str(uuid4())
    (begun,) = await all_applied(push, PHONE, titled(home, -60, "On Ahab"))
    await all_applied(push, PHONE, said(home, -50), said(home, -40), said(home, -30))
    knew = titled(home, -90, "On Starbuck", "patch", base=begun["offset"])
    ack = await one(push, TABLET, knew)
    assert (ack["status"], conversation(sql)["title"], conflicts(sql)) == ("applied", "On Starbuck", [])
    assert conversation(sql)["titled_at"] == moment(-60) + timedelta(microseconds=1), "past the title that it knew"


async def test_of_two_titles_the_newer_holds_and_the_other_is_kept(push: Push, sql: psycopg.Connection):
    home = str(uuid4())
    (begun,) = await all_applied(push, PHONE, titled(home, -60, "On Ahab"))
    await all_applied(push, PHONE, said(home, -50), titled(home, -20, "newer", "patch"), said(home, -1))
    late = titled(home, -30, "older", "patch", base=begun["offset"])
    ack = await one(push, TABLET, late)
    assert (ack["status"], conversation(sql)["title"]) == ("superseded", "newer")
    assert conflicts(sql) == [("newer", "older")]
    ack = await one(push, TABLET, titled(home, -10, "newest", "patch", base=begun["offset"]))
    assert (ack["status"], conversation(sql)["title"]) == ("applied", "newest")
    assert conflicts(sql)[-1] == ("newest", "newer")


async def test_a_removal_loses_to_a_message_that_came_after(push: Push, sql: psycopg.Connection):
    home = str(uuid4())
    await all_applied(push, PHONE, titled(home, -60, "On Ahab"), said(home, -5))
    ack = await one(push, TABLET, mutation("remove", "conversations", home, -10))
    assert (ack["status"], len(rows(sql, "messages"))) == ("superseded", 1)
    ack = await one(push, TABLET, mutation("remove", "conversations", home, -4))
    assert (ack["status"], rows(sql, "messages")) == ("applied", [])


def test_whoever_writes_by_hand_gives_the_title_its_stamp(sql: psycopg.Connection):
    sql.execute("INSERT INTO conversations (owner, id, title) VALUES ('user:ada', gen_random_uuid(), 'On Ahab')")
    first = conversation(sql)
    assert first["titled_at"] == first["updated_at"]
    sql.execute("UPDATE conversations SET updated_at = updated_at + interval '1 hour'")
    raised = conversation(sql)
    assert (raised["titled_at"], raised["title_offset"]) == (first["titled_at"], 1)
    sql.execute("UPDATE conversations SET updated_at = updated_at - interval '2 hours'")
    assert conversation(sql)["updated_at"] == raised["updated_at"]
    sql.execute("UPDATE conversations SET title = 'On Starbuck'")
    row = conversation(sql)
    assert row["titled_at"] == row["updated_at"] > raised["updated_at"]
    assert row["title_offset"] is None


# -- what belongs together ---------------------------------------------------


async def test_a_message_for_a_conversation_that_is_not_there_is_rejected(push: Push, sql: psycopg.Connection):
    gone = str(uuid4())
    await all_applied(push, PHONE, titled(gone, -60, "On Ahab"), mutation("remove", "conversations", gone, -50))
    await all_applied(push, sender("phone", "user:eve"), titled(theirs := str(uuid4()), -60, "Eve's"))
    raws = [said(str(uuid4()), -10), said(gone, -10), said(theirs, -10)]
    acks = await push.push(PHONE, raws)
    assert [(ack["status"], ack["code"]) for ack in acks] == [
        ("rejected", "not_found"),
        ("rejected", "removed"),
        ("rejected", "not_found"),
    ]
    assert rows(sql, "messages") == []


async def test_a_conversation_and_its_messages_may_come_in_one_batch_in_any_order_of_rows(
    push: Push, sql: psycopg.Connection
):
    a, b, message = str(uuid4()), str(uuid4()), str(uuid4())
    acks = await push.push(
        PHONE,
        [
            said(a, -60, "too early"),
            titled(a, -60, "a"),
            said(a, -50, "a1"),
            titled(b, -50, "b"),
            said(b, -49, "b1", message),
            said(a, -48, "a2"),
            mutation("remove", "conversations", a, -40),
            said(a, -30, "too late"),
            grown(message, -20, "b2"),
            titled(b, -10, "bb", "patch"),
        ],
    )
    codes = [ack.get("code") or ack["status"] for ack in acks]
    assert codes == ["not_found", *["applied"] * 6, "removed", "applied", "applied"]
    assert [(row["title"], row["updated_at"]) for row in rows(sql, "conversations")] == [("bb", moment(-10))]
    assert [row["content"] for row in rows(sql, "messages")] == ["b2"]


async def test_a_write_behind_one_that_raised_its_row_sees_the_raised_row(push: Push, sql: psycopg.Connection):
    home, message = str(uuid4()), str(uuid4())
    await all_applied(push, PHONE, titled(home, -60, "a"), said(home, -50, "one", message))
    late = titled(home, -30, "older", "patch")
    acks = await push.push(TABLET, [grown(message, -5, "more"), titled(home, -20, "newer", "patch"), late])
    assert [ack["status"] for ack in acks] == ["applied", "applied", "superseded"]
    found = sql.execute('SELECT "offset", updated_at FROM changes WHERE key = %s', [home]).fetchone()
    told = acks[-1]["row"]
    assert (told["offset"], datetime.fromisoformat(told["updated_at"])) == found
    assert found is not None
    assert (found[1], conversation(sql)["title"]) == (moment(-5), "newer")


async def test_with_a_conversation_its_messages_go_and_every_device_is_told(push: Push, sql: psycopg.Connection):
    home, stays = str(uuid4()), str(uuid4())
    messages = [str(uuid4()) for _ in range(3)]
    await all_applied(push, PHONE, titled(home, -60, "a"), titled(stays, -60, "b"), said(stays, -50))
    await all_applied(push, PHONE, *(said(home, -50, key=message) for message in messages))
    before = head(sql)
    await all_applied(push, TABLET, mutation("remove", "conversations", home, -10))
    told = log(sql, before)
    assert told[-1] == ("conversations", home, "remove"), "it goes last: what belongs to it is gone by then"
    assert sorted(told[:-1]) == sorted(("messages", message, "remove") for message in messages)
    assert sql.execute("SELECT updated_at FROM changes WHERE key = %s", [home]).fetchone() == (moment(-10),)
    assert len(rows(sql, "messages")) == 1
    late = await one(push, PHONE, grown(messages[0], -5, "more"))
    assert (late["status"], late["code"]) == ("rejected", "removed")


async def test_who_removes_a_conversation_by_hand_takes_its_messages(push: Push, sql: psycopg.Connection):
    home = str(uuid4())
    await all_applied(push, PHONE, titled(home, -60, "a"), said(home, -50))
    sql.execute("DELETE FROM conversations")
    assert {op for _, _, op in log(sql)} == {"remove"}
    assert rows(sql, "messages") == []


async def test_the_server_s_role_takes_no_other_house_s_messages_with_a_conversation(
    push: Push, server: Database, sql: psycopg.Connection
):
    """The same id in two houses: a cascade, which no policy holds back, goes by owner and id."""
    home = str(uuid4())
    for owner in ("user:ada", "user:eve"):
        await all_applied(push, sender("phone", owner), titled(home, -60, "a"), said(home, -50))
    async with server.transaction(["user:ada"]) as connection:
        assert (await connection.exec_driver_sql("DELETE FROM conversations")).rowcount == 1
    assert [row["owner"] for row in rows(sql, "messages")] == ["user:eve"]


async def test_messages_of_one_moment_whose_keys_the_server_makes_keep_their_order(push: Push, sql: psycopg.Connection):
    words = [said({"$temp": "c"}, -30, str(n), {"temp": f"m{n}"}) for n in range(30)]
    await all_applied(push, PHONE, titled({"temp": "c"}, -60, "a"), *words)
    found = rows(sql, "messages")
    assert {row["created_at"] for row in found} == {moment(-30)}
    assert [row["content"] for row in found] == [str(n) for n in range(30)]


async def test_a_role_never_changes_and_a_moment_only_to_an_earlier_one(push: Push, sql: psycopg.Connection):
    home, message = str(uuid4()), str(uuid4())
    await all_applied(push, PHONE, titled(home, -60, "a"), said(home, -50, key=message))
    ack = await one(push, PHONE, mutation("patch", "messages", message, -40, {"role": "system"}))
    assert (ack["code"], [e["pointer"] for e in ack["errors"]]) == ("invalid", ["/data/role"])
    await all_applied(push, PHONE, said(home, -30, "anew", message))
    (row,) = rows(sql, "messages")
    assert (row["content"], row["created_at"], row["updated_at"]) == ("anew", moment(-50), moment(-30))


async def test_two_writers_and_somebody_at_psql_do_not_lock_each_other_out(
    push: Push, database: Any, sql: psycopg.Connection
):
    home = str(uuid4())
    await all_applied(push, PHONE, titled(home, -600, "a"))

    def by_hand() -> None:
        with psycopg.connect(database.owner, autocommit=True) as connection:
            for number in range(40):
                connection.execute("UPDATE conversations SET title = %s", [f"by hand {number}"])

    pushed = [push.push(sender(f"d{n}"), [said(home, -500 + n * 10 + m) for m in range(5)]) for n in range(12)]
    beside = asyncio.create_task(asyncio.to_thread(by_hand))
    acks = await asyncio.gather(*pushed)
    await beside
    assert {ack["status"] for some in acks for ack in some} == {"applied"}
    assert len(rows(sql, "messages")) == 60
    assert conversation(sql)["title"] == "by hand 39"


# -- the order ---------------------------------------------------------------


async def test_a_page_is_found_along_the_index(push: Push, pull: Pull, sql: psycopg.Connection):
    home = str(uuid4())
    await all_applied(push, PHONE, titled(home, -60, "a"), *(said(home, -50 + n, str(n)) for n in range(5)))
    found = await pull.thread("user:ada", "messages", home, Span(2, (moment(-49), str(UUID(int=2**128 - 1)))))
    assert found is not None
    assert [row.key for row in found] == [str(row["id"]) for row in rows(sql, "messages")[2:4]]
    assert await pull.thread("user:eve", "messages", home, Span(2)) is None
    assert await pull.thread("user:ada", "messages", str(uuid4()), Span(2)) is None


# -- a visitor signs in ------------------------------------------------------


def visitor(sql: psycopg.Connection) -> tuple[UUID, Sender]:
    session_id = uuid4()
    owner = session_owner(session_id)
    sql.execute("INSERT INTO sessions (owner, id) VALUES (%s, %s)", [owner, session_id])
    return session_id, sender("phone", owner)


async def test_a_claim_brings_conversations_with_their_messages(
    push: Push, server: Database, catalog: Catalog, sql: psycopg.Connection
):
    session_id, guest = visitor(sql)
    home = str(uuid4())
    await all_applied(push, guest, titled(home, -60, "a"), said(home, -50, "one"), said(home, -40, "two"))
    taken = await Claim(server, catalog).claim("user:ada", session_id)
    assert (taken.rows, taken.conflicts) == (4, 0)
    assert {row["owner"] for row in (*rows(sql, "conversations"), *rows(sql, "messages"))} == {"user:ada"}
    row = conversation(sql)
    assert (row["updated_at"], row["titled_at"], row["title_offset"]) == (moment(-40), moment(-60), None)
    offset = sql.execute('SELECT "offset" FROM changes WHERE key = %s', [home]).fetchone()
    ack = await one(push, PHONE, titled(home, -70, "b", "patch", base=offset[0] if offset else None))
    assert (ack["status"], ack.get("conflict_id")) == ("applied", None)
    assert (await one(push, PHONE, said(home, -30, "three")))["status"] == "applied"


@pytest.mark.parametrize("removed_at", [-45, -70], ids=["after the visitor began it", "before"])
async def test_a_claim_of_a_conversation_that_the_reader_removed_is_no_hindrance(
    push: Push, server: Database, catalog: Catalog, sql: psycopg.Connection, removed_at: float
):
    session_id, guest = visitor(sql)
    home, message = str(uuid4()), str(uuid4())
    await all_applied(push, PHONE, titled(home, -100, "mine"), said(home, -90, "old", message))
    await all_applied(push, PHONE, mutation("remove", "conversations", home, removed_at))
    await all_applied(push, guest, titled(home, -60, "a"), said(home, -50, "one", message), said(home, -40, "two"))
    await Claim(server, catalog).claim("user:ada", session_id)
    kept = removed_at == -70
    assert [row["title"] for row in rows(sql, "conversations")] == (["a"] if kept else [])
    assert {row["content"] for row in rows(sql, "messages")} <= ({"one", "two"} if kept else set())
    assert len(rows(sql, "messages")) >= kept
