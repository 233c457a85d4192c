"""A resource's table: rows read, locked, written in bulk, removed and listed."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors

from syncserver.storage import rows, trip
from syncserver.storage.database import Contention, Database
from syncserver.storage.resource import Resource
from syncserver.storage.rows import Listing, Write

ADA, BEN = "user:ada", "user:ben"
STAMP = datetime(2026, 3, 1, 8, 15, tzinfo=UTC)


def version(key: str = "moby", owner: str = ADA, minutes: int = 0, **fields: Any) -> Write:
    return Write(
        owner, key, {"status": "reading", **fields}, STAMP + timedelta(minutes=minutes), "phone", "Ada's phone"
    )


async def write(server: Database, resource: Resource, *new: Write, changed: tuple[Write, ...] = ()) -> None:
    async with server.transaction({w.owner for w in (*new, *changed)}) as connection:
        await rows.write(connection, resource, new, changed)


async def one(server: Database, resource: Resource, key: str = "moby", owner: str = ADA) -> dict[str, Any] | None:
    async with server.transaction([owner]) as connection:
        found = await rows.one(connection, resource, owner, key)
    return orjson.loads(found.json) if found else None


# -- write -------------------------------------------------------------------


async def test_a_new_row_holds_what_was_written(server: Database, progress: Resource):
    fields: dict[str, Any] = {
        "series_id": "novels",
        "locator": {"href": "/ch1", "type": "text/html", "locations": {"progression": 0.1}},
        "position": "epubcfi(/6/4[\"x'y\\]!/4/2)\n",
        "position_kind": "cfi",
        "percentage": 0.1,
        "furthest": 0.30000000000000004,
        "status": "finished",
    }
    await write(server, progress, version(**fields))
    row = await one(server, progress)
    assert row is not None
    created = row.pop("created_at")
    assert row == {
        "publication_id": "moby",
        **fields,
        "device_id": "phone",
        "device_name": "Ada's phone",
        "updated_at": "2026-03-01T08:15:00.000000Z",
    }
    assert datetime.fromisoformat(created).tzinfo is not None


async def test_a_changed_row_is_the_whole_new_version(server: Database, progress: Resource):
    await write(server, progress, version(series_id="novels", percentage=0.1))
    await write(server, progress, changed=(version(minutes=1, percentage=0.2),))
    row = await one(server, progress)
    assert row is not None
    assert (row["series_id"], row["percentage"], row["updated_at"]) == (None, 0.2, "2026-03-01T08:16:00.000000Z")


async def test_many_rows_of_many_owners_go_in_one_call(server: Database, progress: Resource, sql):
    await write(server, progress, *(version(f"book {i}", owner) for i in range(50) for owner in (BEN, ADA)))
    await write(
        server,
        progress,
        *(version(f"new {i}", ADA) for i in range(5)),
        changed=tuple(version(f"book {i}", ADA, 1, percentage=0.5) for i in range(10)),
    )
    assert sql.execute("SELECT owner, head FROM channels ORDER BY 1").fetchall() == [(ADA, 65), (BEN, 50)]


async def test_offsets_follow_the_order_of_keys_in_a_call(server: Database, progress: Resource, sql):
    await write(server, progress, version("c"), version("a"), version("b"))
    assert sql.execute('SELECT key FROM changes ORDER BY "offset"').fetchall() == [("a",), ("b",), ("c",)]


async def test_writing_nothing_is_nothing(server: Database, progress: Resource, sql):
    await write(server, progress)
    assert sql.execute("SELECT count(*) FROM channels").fetchone() == (0,)


async def test_a_new_row_that_somebody_else_inserted_first_may_be_tried_again(server: Database, progress: Resource):
    await write(server, progress, version())
    with pytest.raises(Contention):
        await write(server, progress, version())


async def test_a_row_for_an_owner_that_is_not_named_is_refused(server: Database, progress: Resource, sql):
    with pytest.raises(sa.exc.DBAPIError, match="row-level security"):
        async with server.transaction([ADA]) as connection:
            await rows.write(connection, progress, [version(owner=BEN)], [])
    assert sql.execute("SELECT count(*) FROM reading_progress").fetchone() == (0,)


# -- locked ------------------------------------------------------------------


async def test_locked_rows_are_those_that_exist_with_their_fields_and_device(server: Database, progress: Resource):
    await write(server, progress, version(percentage=0.25, locator={"href": "/1"}), version("moby", BEN))
    async with server.transaction([ADA, BEN]) as connection:
        found = await rows.locked(connection, progress, [(ADA, "moby"), (BEN, "moby"), (ADA, "never")])
        assert await rows.locked(connection, progress, []) == {}
    assert set(found) == {(ADA, "moby"), (BEN, "moby")}
    stored = found[ADA, "moby"]
    assert set(stored.fields) == set(progress.fields)
    assert (stored.fields["percentage"], stored.fields["locator"]) == (0.25, {"href": "/1"})
    assert (stored.updated_at, stored.device_id, stored.device_name) == (STAMP, "phone", "Ada's phone")
    assert orjson.loads(stored.json)["publication_id"] == "moby"


async def test_locked_rows_wait_for_nobody_else_to_change_them(server: Database, progress: Resource, sql):
    await write(server, progress, version(), version("free"))
    skip = "SELECT publication_id FROM reading_progress FOR UPDATE SKIP LOCKED"
    async with server.transaction([ADA]) as connection:
        await rows.locked(connection, progress, [(ADA, "moby")])
        assert sql.execute(skip).fetchall() == [("free",)]
        with pytest.raises(errors.LockNotAvailable):
            sql.execute("SELECT FROM reading_progress WHERE publication_id = 'moby' FOR UPDATE NOWAIT")
    assert sorted(sql.execute(skip).fetchall()) == [("free",), ("moby",)]


async def test_rows_of_owners_that_are_not_named_are_not_locked(server: Database, progress: Resource):
    await write(server, progress, version(owner=BEN))
    async with server.transaction([ADA]) as connection:
        assert await rows.locked(connection, progress, [(BEN, "moby")]) == {}


async def test_two_transactions_lock_the_same_rows_in_the_same_order(server: Database, progress: Resource):
    names = [(ADA, f"book {i}") for i in range(30)]
    await write(server, progress, *(version(key) for _, key in names))

    async def lock(places: list[tuple[str, str]]) -> int:
        async with server.transaction([ADA]) as connection:
            return len(await rows.locked(connection, progress, places))

    found = await asyncio.gather(*(lock(names if i % 2 else names[::-1]) for i in range(20)))
    assert found == [30] * 20


# -- delete ------------------------------------------------------------------


async def test_a_removed_row_leaves_its_tombstone(server: Database, progress: Resource, sql):
    await write(server, progress, version(), version("other"))
    async with server.transaction([ADA]) as connection:
        await trip.one(connection, rows.deleted(progress, ADA, "moby"))
        await trip.one(connection, rows.deleted(progress, ADA, "never"))
    assert await one(server, progress) is None
    assert sql.execute("SELECT key FROM changes WHERE op = 'remove'").fetchall() == [("moby",)]


# -- one and listed ----------------------------------------------------------


async def test_one_row_comes_with_its_place_in_the_log(server: Database, progress: Resource):
    await write(server, progress, version("a"), version("b", minutes=3))
    async with server.transaction([ADA]) as connection:
        found = await rows.one(connection, progress, ADA, "b")
        assert await rows.one(connection, progress, ADA, "never") is None
        assert await rows.one(connection, progress, BEN, "b") is None
    assert found is not None
    assert (found.key, found.offset, found.updated_at) == ("b", 2, STAMP + timedelta(minutes=3))


async def listed(server: Database, resource: Resource, listing: Listing) -> list[rows.Listed]:
    async with server.transaction([ADA]) as connection:
        return await rows.listed(connection, resource, ADA, listing)


async def test_rows_are_listed_newest_first(server: Database, progress: Resource):
    await write(server, progress, version("a"), version("b", minutes=2), version("c", minutes=1), version("d", BEN, 9))
    assert [row.key for row in await listed(server, progress, Listing({}))] == ["b", "c", "a"]


async def test_a_list_may_be_filtered(server: Database, progress: Resource):
    await write(
        server,
        progress,
        version("a", series_id="x"),
        version("b", series_id="y"),
        version("c", series_id="x", status="finished"),
    )
    assert [row.key for row in await listed(server, progress, Listing({"series_id": "x"}))] == ["c", "a"]
    both = Listing({"series_id": "x", "status": "finished"})
    assert [row.key for row in await listed(server, progress, both)] == ["c"]
    assert await listed(server, progress, Listing({"series_id": "x' OR true --"})) == []


async def test_pages_of_a_list_join_even_where_stamps_are_equal(server: Database, progress: Resource):
    await write(server, progress, *(version(f"book {i}", minutes=i // 4) for i in range(11)))
    whole = [row.key for row in await listed(server, progress, Listing({}))]
    seen: list[str] = []
    page = await listed(server, progress, Listing({}, limit=3))
    while page:
        seen += [row.key for row in page]
        page = await listed(server, progress, Listing({}, (page[-1].updated_at, page[-1].key), limit=3))
    assert seen == whole
    assert sorted(whole) == sorted(f"book {i}" for i in range(11))


# -- keys of another type ----------------------------------------------------


@pytest.fixture
def shelves(sql: psycopg.Connection, progress: Resource) -> Resource:
    """A resource whose key is a number and whose table has no column for the device's name."""
    sql.execute("""
        CREATE TABLE shelves (owner text, id bigint, status text, device_id text, updated_at timestamptz NOT NULL,
          PRIMARY KEY (owner, id));
        SELECT sync_track_v2('shelves', 'shelves', 'id'), sync_isolate_v1('shelves');
        GRANT SELECT, INSERT, UPDATE, DELETE ON shelves TO syncserver_app
    """)
    table = sa.Table(
        "shelves",
        sa.MetaData(),
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("status", sa.Text),
        sa.Column("device_id", sa.Text),
        sa.Column("updated_at", sa.DateTime(timezone=True)),
    )
    return Resource("shelves", table, "id", progress.model)


async def test_a_key_that_is_a_number_is_written_read_changed_listed_and_removed(server: Database, shelves: Resource):
    key = "9007199254740993"
    await write(server, shelves, version(key), version("10"))
    await write(server, shelves, changed=(version(key, minutes=1, status="finished"),))
    async with server.transaction([ADA]) as connection:
        locked = await rows.locked(connection, shelves, [(ADA, key)])
        assert locked[ADA, key].fields == {"status": "finished"}
        assert locked[ADA, key].device_name is None
        found = await rows.listed(connection, shelves, ADA, Listing({}))
        assert [(row.key, row.offset) for row in found] == [(key, 3), ("10", 1)]
        await trip.one(connection, rows.deleted(shelves, ADA, key))
        assert await rows.one(connection, shelves, ADA, key) is None
