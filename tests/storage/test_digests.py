"""The digests that PostgreSQL makes: those of `core.digest` over what the read door delivers, whatever the rows are."""

from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncserver.core import digest
from syncserver.core.values import Digest
from syncserver.storage import changes, digests, trip
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog

ADA, BEN = "user:ada", "user:ben"
EMPTY = Digest(rows=0, xor="0" * 16)
_keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
_stamps = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
_entries = st.dictionaries(_keys, st.tuples(_stamps, st.sampled_from(["put", "put", "remove"])), max_size=12)


def put(sql: psycopg.Connection, *keys: str, owner: str = ADA) -> None:
    for key in keys:
        sql.execute("INSERT INTO reading_progress (owner, publication_id) VALUES (%s, %s)", [owner, key])


async def standing(server: Database, *resources: str, owner: str = ADA) -> digests.Standing:
    async with server.transaction([owner]) as connection:
        return await digests.of(connection, owner, resources)


async def delivered(server: Database, catalog: Catalog, owner: str = ADA) -> Digest:
    """The digest that a client makes of everything that the read door gives it."""
    async with server.transaction([owner]) as connection:
        page = (await trip.one(connection, changes.since(catalog, {owner: 0}, limit=1000)))[owner]
    return digest.of(digest.row(c.resource, c.key, c.offset, c.updated_at) for c in page.changes if c.op == "put")


@given(_entries)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_it_is_the_client_s_digest_of_what_is_delivered(server, catalog, sql, entries):
    sql.execute("DELETE FROM changes")
    for n, (key, (stamp, op)) in enumerate(entries.items(), 1):
        sql.execute(
            'INSERT INTO changes (owner, resource, key, "offset", op, updated_at) VALUES (%s, %s, %s, %s, %s, %s)',
            [ADA, "progress", key, n, op, stamp],
        )
    found = (await standing(server, "progress")).digests["progress"]
    assert found == await delivered(server, catalog)
    assert found.rows == sum(op == "put" for _, op in entries.values())


async def test_an_owner_that_never_wrote_holds_nothing(server):
    found = await standing(server, "progress")
    assert (found.head, found.floor, found.digests) == (0, 0, {"progress": EMPTY})
    assert found.epoch


async def test_the_bounds_are_the_log_s_and_only_what_is_asked_is_there(server, sql):
    put(sql, "a", "b", "c")
    sql.execute("DELETE FROM reading_progress WHERE publication_id = 'b'")
    sql.execute("UPDATE channels SET floor = 1")
    found = await standing(server, "progress", "another", "progress")
    assert (found.head, found.floor) == (4, 1)
    assert (found.digests["another"], found.digests["progress"].rows) == (EMPTY, 2)
    assert (await standing(server)).digests == {}
    assert (await standing(server)).head == 4


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE reading_progress SET percentage = 0.9 WHERE publication_id = 'a'",
        "DELETE FROM reading_progress WHERE publication_id = 'a'",
        "INSERT INTO reading_progress (owner, publication_id) VALUES ('user:ada', 'c')",
        "DELETE FROM changes WHERE key = 'a'",
        "UPDATE changes SET updated_at = updated_at + interval '1 microsecond' WHERE key = 'a'",
    ],
)
async def test_whatever_changes_in_the_log_changes_it(server, catalog, sql, change):
    put(sql, "a", "b")
    before = await standing(server, "progress")
    sql.execute(change)
    after = await standing(server, "progress")
    assert after.digests["progress"] != before.digests["progress"]
    assert after.digests["progress"] == await delivered(server, catalog)


async def test_an_entry_whose_row_is_missing_counts_as_it_is_delivered(server, catalog, sql):
    put(sql, "a", "b")
    with sql.transaction():
        sql.execute("SET LOCAL session_replication_role = replica")
        sql.execute("DELETE FROM reading_progress WHERE publication_id = 'a'")
    found = (await standing(server, "progress")).digests["progress"]
    assert (found.rows, found) == (2, await delivered(server, catalog))


async def test_other_owners_do_not_count(server, catalog, sql):
    put(sql, "a")
    put(sql, "a", "b", owner=BEN)
    assert (await standing(server, "progress")).digests["progress"] == await delivered(server, catalog)
    async with server.transaction([BEN]) as connection:
        unnamed = await digests.of(connection, ADA, ["progress"])
    assert (unnamed.head, unnamed.digests["progress"]) == (0, EMPTY)
