"""Several statements in one round trip, on connections that last and on others."""

import psycopg
import pytest
import sqlalchemy as sa

from syncserver.core.errors import Unavailable
from syncserver.storage import trip
from syncserver.storage.database import Contention, Database, RefusedError, Turns
from syncserver.storage.trip import Ask

ADA, BEN = "user:ada", "user:ben"
OWNERS = Ask(sa.text("SELECT current_setting('syncserver.owners')::text[]"), {}, lambda rows: rows[0][0])
PUT = "INSERT INTO reading_progress (owner, publication_id, updated_at) VALUES (:owner, :key, now()) RETURNING 1"
ways = pytest.mark.parametrize("many", [True, False], ids=["lasting", "of the pool"])


def put(key: str, owner: str = ADA) -> Ask[int]:
    return Ask(sa.text(PUT), {"owner": owner, "key": key}, len)


def keys(sql: psycopg.Connection) -> list[str]:
    return [row[0] for row in sql.execute("SELECT publication_id FROM reading_progress ORDER BY 1")]


@ways
async def test_each_sees_what_those_before_it_did_and_the_last_may_end_it(server: Database, sql, many: bool):
    count = Ask(sa.text("SELECT count(*) FROM reading_progress"), {}, lambda rows: rows[0][0])
    for number in range(3):  # the second time they are prepared
        async with server.transaction(Turns([ADA]), queue=True, many=many) as connection:
            found = await trip.go(connection, put(f"a{number}"), count, put(f"b{number}"), count, commit=True)
            assert found == [1, 2 * number + 1, 1, 2 * number + 2]
            assert len(keys(sql)) == 2 * number + 2, "it is committed"


@ways
async def test_after_one_that_fails_nothing_is_carried_out_and_the_connection_goes_on(
    server: Database, sql, many: bool
):
    for _ in range(2):
        with pytest.raises(RefusedError):
            async with server.transaction(Turns([ADA]), queue=True, many=many) as connection:
                await trip.go(connection, put("a"), put("x" * 600), put("b"), commit=True)
        assert keys(sql) == []
        with pytest.raises(Contention):
            async with server.transaction(Turns([ADA]), queue=True, many=many) as connection:
                await trip.go(connection, put("a"), put("a"))
    async with server.transaction(Turns([ADA]), queue=True, many=many) as connection:
        assert await trip.go(connection, put("a")) == [1]
    assert keys(sql) == ["a"]


async def test_a_lasting_connection_is_the_same_and_another_where_it_was_ended(server: Database, sql):
    pid = Ask(sa.text("SELECT pg_backend_pid()"), {}, lambda rows: rows[0][0])
    found = []
    for ended in (False, True, False):
        async with server.transaction(Turns([ADA]), queue=True, many=True) as connection:
            found += await trip.go(connection, pid)
        if ended:
            sql.execute("SELECT pg_terminate_backend(%s, 10000)", [found[-1]])
    assert found[0] == found[1] != found[2]


async def test_one_that_is_ended_in_the_middle_is_away_and_the_next_is_there(server: Database, sql):
    pid = Ask(sa.text("SELECT pg_backend_pid()"), {}, lambda rows: rows[0][0])

    async def ended() -> None:
        async with server.transaction(Turns([ADA]), queue=True, many=True) as connection:
            [found] = await trip.go(connection, pid)
            sql.execute("SELECT pg_terminate_backend(%s, 10000)", [found])
            await trip.go(connection, put("a"))

    with pytest.raises(Unavailable):
        await ended()
    async with server.transaction(Turns([ADA]), queue=True, many=True) as connection:
        assert await trip.go(connection, put("b"), commit=True) == [1]
    assert keys(sql) == ["b"]


async def test_it_names_the_owners_that_it_got_and_sees_nothing_of_the_others(server: Database, database, sql):
    for owner in (ADA, BEN):
        sql.execute("INSERT INTO reading_progress (owner, publication_id) VALUES (%s, 'moby')", [owner])
    with psycopg.connect(database.owner) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [ADA])
        turns = Turns([ADA, BEN])
        rows = Ask(sa.text("SELECT owner FROM reading_progress FOR UPDATE"), {}, lambda rows: [row[0] for row in rows])
        turns.asks = [OWNERS, rows]
        async with server.transaction(turns, queue=True, many=True):
            assert (turns.busy, list(turns.told)) == (frozenset([ADA]), [[BEN], [BEN]])
            sql.execute("UPDATE reading_progress SET percentage = 0.5 WHERE owner = %s", [ADA])  # is not locked


@pytest.mark.parametrize("text", ["", "a", 'with "quotes"', "back\\slash", "{,}", "NULL", "ümlaut\u2028", " "])
async def test_an_array_holds_any_text(server: Database, text: str):
    echo = Ask(sa.text("SELECT CAST(:texts AS text[])"), {"texts": trip.array([text, "b"])}, lambda rows: rows[0][0])
    async with server.transaction([ADA]) as connection:
        assert await trip.one(connection, echo) == [text, "b"]
