"""What is forgotten in time, and that nobody is left with half a story by it."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from syncserver.core.actor import Device
from syncserver.core.cursor import Cursor
from syncserver.core.errors import Refetch
from syncserver.engine.decide import Sender
from syncserver.engine.expiry import Expiry
from syncserver.engine.pull import Pull
from syncserver.engine.push import Push
from syncserver.storage import revocations
from syncserver.storage.database import Database
from tests.harness import until_locked_out

ADA, BEN = "user:ada", "user:ben"
PHONE = Sender(ADA, Device("phone"), "c")
DAY = timedelta(days=1)


def put(sql: psycopg.Connection, *keys: str, owner: str = ADA) -> None:
    for key in keys:
        sql.execute("INSERT INTO reading_progress (owner, publication_id) VALUES (%s, %s)", [owner, key])


def remove(sql: psycopg.Connection, key: str, *, days_ago: float, owner: str = ADA) -> None:
    sql.execute("DELETE FROM reading_progress WHERE owner = %s AND publication_id = %s", [owner, key])
    sql.execute(
        "UPDATE changes SET removed_at = now() - make_interval(secs => %s) WHERE owner = %s AND key = %s",
        [days_ago * 86_400, owner, key],
    )


def bounds(sql: psycopg.Connection, owner: str = ADA) -> tuple[int, int]:
    [found] = sql.execute("SELECT floor, head FROM channels WHERE owner = %s", [owner])
    return found


def count(sql: psycopg.Connection, table: str) -> int:
    [(number,)] = sql.execute(f"SELECT count(*) FROM {table}".encode())
    return int(number)


def expiry(server: Database, ledger: timedelta = 30 * DAY) -> Expiry:
    return Expiry(server, lambda: datetime.now(UTC), ledger=ledger)


async def test_a_tombstone_goes_when_its_time_is_over_and_the_floor_rises_past_it(server: Database, sql):
    put(sql, "a", "b", "c")
    remove(sql, "a", days_ago=91)
    remove(sql, "b", days_ago=89)
    await expiry(server).forget()
    assert bounds(sql) == (4, 5)
    assert sql.execute('SELECT key, "offset", op FROM changes ORDER BY "offset"').fetchall() == [
        ("c", 3, "put"),
        ("b", 5, "remove"),
    ]


async def test_it_is_the_time_since_the_removal_that_counts_and_not_its_stamp(server: Database, sql, push: Push):
    put(sql, "a")
    removal = {"mutation_id": str(uuid4()), "resource": "progress", "key": "a", "op": "remove", "policy": "client-wins"}
    [ack] = await push.push(PHONE, [{**removal, "updated_at": "2020-01-01T00:00:00Z"}])
    assert ack["status"] == "applied"
    await expiry(server).forget()
    assert bounds(sql)[0] == 0


async def test_many_owners_and_many_tombstones_are_all_done(server: Database, sql, monkeypatch):
    monkeypatch.setattr("syncserver.engine.expiry._AT_ONCE", 2)
    for owner in (ADA, BEN, "user:eve"):
        put(sql, "a", "b", "c", owner=owner)
        for key in ("a", "b"):
            remove(sql, key, days_ago=100, owner=owner)
    await expiry(server).forget()
    assert [bounds(sql, owner) for owner in (ADA, BEN, "user:eve")] == [(5, 5)] * 3
    assert count(sql, "changes") == 3


async def test_an_older_cursor_has_to_fetch_again_and_a_newer_one_goes_on(server: Database, sql, pull: Pull):
    put(sql, "a", "b")
    epoch = (await pull.page(ADA, None, None)).epoch
    remove(sql, "a", days_ago=100)
    await expiry(server).forget()
    with pytest.raises(Refetch, match="floor"):
        await pull.page(ADA, Cursor.at(epoch, ADA, 2), None)
    assert not (await pull.page(ADA, Cursor.at(epoch, ADA, 3), None)).changes


async def test_a_first_fetch_of_many_pages_gets_past_a_floor_that_was_there_when_it_began(server, sql, pull: Pull):
    put(sql, "a", "b", "c", "d")
    remove(sql, "a", days_ago=100)
    await expiry(server).forget()
    put(sql, "e")
    keys, cursor, more = [], None, True
    while more:
        page = await pull.page(ADA, cursor, None, limit=1)
        assert cursor in {None, page.cursor_since}
        assert page.floor == 5
        keys += [change.key for change in page.changes]
        cursor, more = Cursor.parse(str(page.cursor_until)), page.more
    assert keys == ["b", "c", "d", "e"]
    assert cursor is not None
    assert cursor.began == 0


async def test_a_first_fetch_is_refused_where_something_expired_since_it_began(server: Database, sql, pull: Pull):
    put(sql, "a", "b", "c")
    page = await pull.page(ADA, None, None, limit=2)
    remove(sql, "a", days_ago=100)
    await expiry(server).forget()
    with pytest.raises(Refetch, match="floor"):
        await pull.page(ADA, page.cursor_until, None)


async def test_what_expired_can_be_written_again_and_reaches_everybody(server: Database, sql, push: Push):
    put(sql, "a")
    remove(sql, "a", days_ago=100)
    await expiry(server).forget()
    write = {"mutation_id": str(uuid4()), "resource": "progress", "key": "a", "op": "put", "data": {}}
    [ack] = await push.push(PHONE, [write])
    assert (ack["status"], ack["offset"], bounds(sql)) == ("applied", 3, (2, 3))


async def test_the_floor_waits_for_a_writer_who_holds_the_channel(server: Database, sql, database):
    put(sql, "a", "b")
    remove(sql, "a", days_ago=100)
    with psycopg.connect(database.owner) as writer:
        put(writer, "a")
        forgetting = asyncio.create_task(expiry(server).forget())
        await asyncio.to_thread(until_locked_out, sql, "%sync_expire%")
        writer.commit()
        await forgetting
    assert bounds(sql) == (0, 4)
    assert sql.execute("SELECT op FROM changes WHERE key = 'a'").fetchone() == ("put",)


@pytest.mark.parametrize(("table", "days"), [("mutations", 30), ("temporary_keys", 30), ("conflicts", 90)], ids=str)
async def test_the_ledger_names_and_conflicts_go_when_their_time_is_over(server, sql, monkeypatch, table, days):
    monkeypatch.setattr("syncserver.engine.expiry._AT_ONCE", 2)
    rows = {
        "mutations": "(owner, client_id, mutation_id, ack, created_at) SELECT 'o', 'c', gen_random_uuid(), '{}', at",
        "temporary_keys": "(owner, client_id, name, resource, created_at) SELECT 'o', 'c', at::text, 'r', at",
        "conflicts": "(owner, id, resource, key, policy, reason, winner, loser, created_at)"
        " SELECT 'o', gen_random_uuid(), 'r', 'k', 'p', 'r', '{}', '{}', at",
    }
    times = "generate_series(now() - make_interval(days => %s), now(), interval '1 day')"
    sql.execute(f"INSERT INTO {table} {rows[table]} FROM {times} AS at".encode(), [days + 4])
    assert count(sql, table) == days + 5
    await expiry(server).forget()
    assert count(sql, table) == days


async def test_a_retry_within_the_time_is_known_and_one_after_it_is_a_new_write(server: Database, sql, push: Push):
    write = {"mutation_id": str(uuid4()), "resource": "progress", "key": "a", "op": "put", "data": {}}
    await push.push(PHONE, [write])
    sql.execute("UPDATE mutations SET created_at = now() - interval '29 days'")
    await expiry(server).forget()
    assert [ack["status"] for ack in await push.push(PHONE, [write])] == ["duplicate"]
    await expiry(server, ledger=28 * DAY).forget()
    assert [ack["status"] for ack in await push.push(PHONE, [write])] == ["applied"]


async def test_an_outage_is_survived(sql, database):
    put(sql, "a")
    remove(sql, "a", days_ago=100)
    tries = asyncio.Queue[None]()

    class Counted(Expiry):
        async def forget(self) -> None:
            tries.put_nowait(None)
            await super().forget()

    away = Database(database.server.replace("port=5432", "port=1"), connect_timeout_s=2)
    task = asyncio.create_task(Counted(away, lambda: datetime.now(UTC), every_s=0.01).run())
    for _ in range(2):
        await tries.get()
    assert not task.done()
    task.cancel()
    await away.close()


async def test_a_token_that_was_taken_back_is_forgotten_when_it_would_have_ended(
    server: Database, sql: psycopg.Connection
):
    row = "INSERT INTO revocations (owner, token_id, before, expires_at) VALUES ('user:ada', %s, %s, now() + %s)"
    sql.execute(row, ["ended", None, -timedelta(seconds=1)])
    sql.execute(row, ["holds", None, timedelta(hours=1)])
    async with server.transaction([ADA]) as connection:
        await revocations.revoke_all(connection, ADA)
        await revocations.revoke(connection, ADA, "unknown end")
    await expiry(server).forget()
    left = sql.execute("SELECT token_id FROM revocations ORDER BY token_id").fetchall()
    assert left == [("",), ("holds",), ("unknown end",)]
