"""Mending makes the log follow the rows again, and reaches every device; a rotated epoch is another log."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from syncserver.core.change import Change
from syncserver.storage import changes, diagnosis, schema, trip, upkeep
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog
from tests.harness import Urls
from tests.storage.broken import ADA, BEN, past_the_triggers, put

STAMP = datetime(2026, 3, 1, 8, 15, tzinfo=UTC)


@pytest.fixture
def owning(database: Urls, pooled) -> Database:
    """The pool of an operator's command."""
    made: Database = pooled(database.owner)
    return made


async def mended(owning: Database, catalog: Catalog) -> int:
    async with owning.transaction([ADA], queue=True) as connection:
        count = await upkeep.mend(connection, catalog, ADA)
    async with owning.transaction([ADA]) as connection:
        assert [f for f in (await diagnosis.of(connection, catalog, ADA)).findings if f.key is not None] == []
    return count


async def news(server: Database, catalog: Catalog, after: int, owner: str = ADA) -> list[Change]:
    async with server.transaction([owner]) as connection:
        return list((await trip.one(connection, changes.since(catalog, {owner: after})))[owner].changes)


def head(sql: psycopg.Connection) -> int:
    row = sql.execute("SELECT head FROM channels WHERE owner = %s", [ADA]).fetchone()
    return int(row[0]) if row else 0


@pytest.fixture
def written(sql: psycopg.Connection) -> psycopg.Connection:
    """Ada has a and c, b was removed; ben has a. Her head is 4."""
    put(sql, "a", "b", "c")
    put(sql, "a", owner=BEN)
    sql.execute("DELETE FROM reading_progress WHERE publication_id = 'b'")
    return sql


async def test_a_sound_log_is_left_as_it_is(owning, catalog, written):
    before = written.execute("SELECT * FROM changes ORDER BY owner, key").fetchall()
    assert await mended(owning, catalog) == 0
    assert written.execute("SELECT * FROM changes ORDER BY owner, key").fetchall() == before
    assert head(written) == 4


async def test_a_row_without_an_entry_comes_to_every_device(owning, server, catalog, written):
    with past_the_triggers(written):
        put(written, "d")
    assert await mended(owning, catalog) == 1
    [change] = await news(server, catalog, 4)
    assert (change.key, change.op, change.offset, change.updated_at) == ("d", "put", 5, STAMP)
    assert (change.device_id, change.data is not None) == ("phone", True)


async def test_an_entry_without_its_row_becomes_a_removal_of_now_that_nobody_made(owning, server, catalog, written):
    with past_the_triggers(written):
        written.execute("DELETE FROM reading_progress WHERE publication_id = 'a'")
    assert await mended(owning, catalog) == 1
    [change] = await news(server, catalog, 4)
    assert (change.key, change.op, change.device_id) == ("a", "remove", None)
    assert change.updated_at > STAMP + timedelta(days=1)
    assert written.execute(
        "SELECT removed_at IS NOT NULL FROM changes WHERE key = 'a' AND owner = %s", [ADA]
    ).fetchone() == (True,)


async def test_a_row_that_was_told_removed_is_put_again(owning, server, catalog, written):
    with past_the_triggers(written):
        put(written, "b")
    assert await mended(owning, catalog) == 1
    [change] = await news(server, catalog, 4)
    assert (change.key, change.op, change.updated_at) == ("b", "put", STAMP)


async def test_an_entry_takes_its_row_s_stamp_and_device(owning, server, catalog, written):
    with past_the_triggers(written):
        written.execute(
            "UPDATE reading_progress SET device_id = 'tablet', updated_at = updated_at + interval '1 day'"
            " WHERE owner = %s AND publication_id = 'a'",
            [ADA],
        )
    assert await mended(owning, catalog) == 1
    [change] = await news(server, catalog, 4)
    assert (change.key, change.device_id, change.updated_at) == ("a", "tablet", STAMP + timedelta(days=1))


async def test_a_head_that_was_set_back_is_raised_past_every_offset(owning, server, catalog, written):
    written.execute("UPDATE channels SET head = 2 WHERE owner = %s", [ADA])
    assert await mended(owning, catalog) == 2
    assert [(c.key, c.offset) for c in await news(server, catalog, 4)] == [("c", 5), ("b", 6)]
    put(written, "d")
    assert head(written) == 7


async def test_a_channel_that_is_gone_is_made_again(owning, catalog, written):
    written.execute("DELETE FROM channels WHERE owner = %s", [ADA])
    assert await mended(owning, catalog) == 3
    assert head(written) == 7


async def test_an_offset_given_twice_is_given_anew_to_both(owning, server, catalog, written):
    written.execute("ALTER TABLE changes DROP CONSTRAINT changes_owner_offset_key")
    written.execute("UPDATE changes SET \"offset\" = 1 WHERE owner = %s AND key = 'c'", [ADA])
    assert await mended(owning, catalog) == 2
    assert [(c.key, c.offset) for c in await news(server, catalog, 4)] == [("a", 5), ("c", 6)]


async def test_a_tombstone_at_the_floor_is_told_again_as_it_was(owning, server, catalog, written):
    [before] = await news(server, catalog, 3)
    written.execute("UPDATE channels SET floor = 4 WHERE owner = %s", [ADA])
    assert await mended(owning, catalog) == 1
    [after] = await news(server, catalog, 4)
    assert (after.key, after.op, after.updated_at, after.device_id) == ("b", "remove", before.updated_at, None)


async def test_other_owners_are_left_alone(owning, server, catalog, written):
    with past_the_triggers(written):
        put(written, "d")
        put(written, "d", owner=BEN)
    assert await mended(owning, catalog) == 1
    assert [c.key for c in await news(server, catalog, 0, BEN)] == ["a"]


async def test_mending_waits_for_nobody_who_holds_a_row_and_neither_deadlocks(
    owning, server, catalog, database, written
):
    """A transaction at psql has changed one row and goes on to another while the log is mended."""
    with past_the_triggers(written):
        put(written, "d")
    async with await psycopg.AsyncConnection.connect(database.owner) as other:
        await other.execute("SET deadlock_timeout = '50ms'")
        await other.execute(
            "SELECT FROM reading_progress WHERE owner = %s AND publication_id IN ('a', 'd') FOR UPDATE", [ADA]
        )
        async with asyncio.timeout(5):
            assert await mended(owning, catalog) == 1
        await other.execute(
            "UPDATE reading_progress SET percentage = 0.8 WHERE owner = %s AND publication_id = 'd'", [ADA]
        )
        await other.commit()
    assert [(c.key, c.offset) for c in await news(server, catalog, 4)] == [("d", 6)]


async def test_a_change_that_commits_first_is_what_is_mended(owning, server, catalog, database, written):
    """Mending waits for the transaction that holds the channel, then looks at what it left."""
    with past_the_triggers(written):
        put(written, "d")
    async with await psycopg.AsyncConnection.connect(database.owner) as other:
        await other.execute(
            "UPDATE reading_progress SET percentage = 0.8 WHERE owner = %s AND publication_id = 'd'", [ADA]
        )
        mending = asyncio.create_task(mended(owning, catalog))
        await waits_for_a_lock(written)
        await other.commit()
        assert await mending == 0
    assert [(c.key, c.offset) for c in await news(server, catalog, 4)] == [("d", 5)]


async def waits_for_a_lock(sql: psycopg.Connection) -> None:
    """Return when somebody in this database waits for a lock."""
    async with asyncio.timeout(10):
        waiting: Any = None
        while waiting != (1,):
            await asyncio.sleep(0.01)
            waiting = sql.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ).fetchone()


async def test_an_owner_of_the_tables_that_is_no_superuser_can_mend_and_rotate(
    empty_database: Urls, catalog, role, pooled
):
    """Row-level security is forced on the tables' owner too."""
    name = empty_database.owner.partition("///")[2].partition("?")[0]
    with role(empty_database.owner, "LOGIN CREATEROLE") as url:
        with psycopg.connect(empty_database.owner, autocommit=True) as sql:
            sql.execute(f"ALTER DATABASE {name} OWNER TO {url.rpartition('user=')[2]}".encode())
            schema.upgrade(url)
            sql.execute("SET syncserver.owners = '{user:ada}'")
            put(sql, "a", "b")
            with past_the_triggers(sql):
                put(sql, "c")
                sql.execute("DELETE FROM reading_progress WHERE publication_id = 'a'")
            sql.execute("UPDATE channels SET head = 1")
        owning = pooled(url)
        assert await mended(owning, catalog) == 3
        assert [(c.key, c.op, c.offset) for c in await news(owning, catalog, 0)] == [
            ("a", "remove", 3),
            ("b", "put", 4),
            ("c", "put", 5),
        ]
        async with owning.transaction([]) as connection:
            before, after = await changes.epoch(connection), await upkeep.rotate_epoch(connection)
        assert before != after
        await owning.close()


# -- the epoch ---------------------------------------------------------------


async def test_a_rotated_epoch_is_another_and_stays(owning, server):
    async with server.transaction([]) as connection:
        before = await changes.epoch(connection)
    async with owning.transaction([]) as connection:
        after = await upkeep.rotate_epoch(connection)
    async with server.transaction([]) as connection:
        assert await changes.epoch(connection) == after != before


async def test_the_server_s_role_can_neither_mend_nor_rotate(server, catalog, written):
    with past_the_triggers(written):
        put(written, "d")
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        async with server.transaction([]) as connection:
            await upkeep.rotate_epoch(connection)
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        async with server.transaction([ADA], queue=True) as connection:
            await upkeep.mend(connection, catalog, ADA)
