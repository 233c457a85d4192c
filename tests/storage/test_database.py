"""The one transaction: what it commits, what it gives back, what it says when the database is away or busy."""

import asyncio
import random
import time
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.errors import Unavailable
from syncserver.storage import trip
from syncserver.storage.database import Contention, Database, RefusedError, Turns, driver_url
from syncserver.storage.trip import Ask
from tests.harness import Urls

ADA, BEN = "user:ada", "user:ben"
PUT = sa.text("INSERT INTO reading_progress (owner, publication_id, updated_at) VALUES (:owner, :key, now())")
TOUCH = sa.text("UPDATE reading_progress SET percentage = random(), updated_at = now() WHERE publication_id = :key")
LOCK = sa.text("SELECT FROM reading_progress WHERE publication_id = :key FOR UPDATE")


async def put(connection: AsyncConnection, key: str, owner: str = ADA) -> None:
    await connection.execute(PUT, {"owner": owner, "key": key})


def stored(sql: psycopg.Connection) -> list[str]:
    return [row[0] for row in sql.execute("SELECT publication_id FROM reading_progress ORDER BY 1")]


async def _until(sql: psycopg.Connection, query: str) -> None:
    """Ask the database until it says yes; other tasks run in between."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if sql.execute(query.encode()).fetchone() == (True,):
            return
        await asyncio.sleep(0)
    raise TimeoutError


def _waits(kind: str) -> str:
    return (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
        f" AND application_name = 'syncserver' AND wait_event_type = 'Lock' AND wait_event = '{kind}')"
    )


# -- connections -------------------------------------------------------------


async def test_nothing_is_compiled(server: Database):
    """Of a PostgreSQL that can, as most distributions have it, each read would take a hundred times as long."""
    shown: Ask[str] = Ask(sa.text("SHOW jit"), {}, lambda rows: rows[0][0])
    assert await server.read([ADA], shown) == "off"
    for owners, many in (([ADA], False), (Turns([ADA]), True)):
        async with server.transaction(owners, queue=many, many=many) as connection:
            assert await trip.one(connection, shown) == "off"


# -- commit and rollback -----------------------------------------------------


async def test_a_transaction_commits_at_its_end(server: Database, sql):
    async with server.transaction([ADA]) as connection:
        await put(connection, "moby")
        assert stored(sql) == []
    assert stored(sql) == ["moby"]


async def test_any_error_rolls_back_and_comes_out_as_it_is(server: Database, sql):
    with pytest.raises(KeyError, match="mine"):  # noqa: PT012 - the transaction is what raises
        async with server.transaction([ADA]) as connection:
            await put(connection, "moby")
            raise KeyError("mine")
    assert stored(sql) == []


async def test_a_cancelled_transaction_rolls_back_and_frees_its_connection(sql, pooled):
    server = pooled(connections=1, connect_timeout_s=2)
    inside = asyncio.Event()

    async def forever() -> None:
        async with server.transaction([ADA]) as connection:
            await put(connection, "moby")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(forever())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with server.transaction([ADA]) as connection:
        await put(connection, "next")
    assert stored(sql) == ["next"]


async def test_a_wrong_statement_is_neither_contention_nor_an_outage(server: Database):
    with pytest.raises(sa.exc.DBAPIError, match="nowhere"):
        async with server.transaction([]) as connection:
            await connection.execute(sa.text("SELECT * FROM nowhere"))


async def test_wrong_values_are_refused(server: Database):
    with pytest.raises(RefusedError, match="22012"):
        async with server.transaction([]) as connection:
            await connection.execute(sa.text("SELECT 1 / 0"))


async def test_values_too_large_for_the_database_are_no_outage(server: Database, sql):
    """They would be too large tomorrow, too: whoever waits for better times would wait for ever."""
    chance = random.Random(1)
    owner, key = ("".join(chr(0x20000 + chance.randrange(40000)) for _ in range(n)) for n in (255, 512))
    with pytest.raises(RefusedError, match="54000"):
        async with server.transaction([owner]) as connection:
            await put(connection, key, owner)
    assert stored(sql) == []


async def test_the_servers_writes_are_not_stamped_by_the_database(server: Database, sql):
    async with server.transaction([ADA]) as connection:
        await put(connection, "moby")
    sql.execute("UPDATE reading_progress SET updated_at = '2026-01-01Z', device_id = 'phone'")
    async with server.transaction([ADA]) as connection:
        await connection.execute(sa.text("UPDATE reading_progress SET percentage = 0.5"))
    row = sql.execute("SELECT extract(month FROM updated_at)::int, device_id FROM reading_progress").fetchone()
    assert row == (1, "phone")


# -- away --------------------------------------------------------------------


@pytest.mark.parametrize("url", ["postgresql:///any?host={folder}", "postgresql://127.0.0.1:1/any"])
async def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path, url: str, pooled):
    server = pooled(url.format(folder=tmp_path))
    with pytest.raises(Unavailable):
        async with server.transaction([ADA]):
            pass


async def test_after_its_connections_were_cut_the_next_transaction_works(server: Database, sql):
    async def one() -> int:
        async with server.transaction([ADA]) as connection:
            return int((await connection.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one())

    before = set(await asyncio.gather(*(one() for _ in range(5))))
    assert len(before) > 1
    ended = sql.execute(
        "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity"
        " WHERE application_name = 'syncserver' AND datname = current_database()"
    ).fetchone()
    assert ended == (len(before),)
    after = set(await asyncio.gather(*(one() for _ in range(5))))
    assert not before & after


async def test_a_connection_cut_in_a_transaction_is_unavailable_and_changed_nothing(server: Database, sql):
    with pytest.raises(Unavailable):  # noqa: PT012 - the transaction is what raises
        async with server.transaction([ADA]) as connection:
            await put(connection, "moby")
            pid = (await connection.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one()
            sql.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
            await put(connection, "more")
    assert stored(sql) == []
    async with server.transaction([ADA]) as connection:
        await put(connection, "next")
    assert stored(sql) == ["next"]


async def test_a_connection_cut_before_the_commit_is_unavailable_and_changed_nothing(server: Database, sql):
    with pytest.raises(Unavailable):  # noqa: PT012 - the transaction is what raises
        async with server.transaction([ADA]) as connection:
            await put(connection, "moby")
            pid = (await connection.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one()
            sql.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    assert stored(sql) == []


async def test_no_free_connection_in_time_is_unavailable(pooled):
    server = pooled(connections=1, connect_timeout_s=0.05)
    async with server.transaction([ADA]):
        with pytest.raises(Unavailable):
            async with server.transaction([BEN]):
                pass


async def test_a_statement_that_takes_too_long_is_unavailable(pooled):
    server = pooled(statement_timeout_s=0.05)
    with pytest.raises(Unavailable):
        async with server.transaction([ADA]) as connection:
            await connection.execute(sa.text("SELECT pg_sleep(20)"))


async def test_what_a_database_cannot_do_while_it_recovers_is_tried_again(server: Database):
    """It refuses unlogged tables so; raised by hand, as none of the tests' databases is a standby."""
    with pytest.raises(Unavailable):
        async with server.transaction([ADA]) as connection:
            await connection.execute(sa.text("DO $$ BEGIN RAISE SQLSTATE '0A000'; END $$"))


async def test_a_database_that_only_reads_is_unavailable_to_writers(sql, pooled):
    """Such as a standby that is not promoted yet: the values are good, the moment is not."""
    sql.execute(f"ALTER DATABASE {sql.info.dbname} SET default_transaction_read_only = on".encode())
    server = pooled()
    with pytest.raises(Unavailable):
        async with server.transaction([ADA]) as connection:
            await put(connection, "moby")


# -- in the way --------------------------------------------------------------


async def test_a_lock_that_is_not_given_in_time_is_contention(database: Urls, pooled):
    server = pooled(lock_timeout_s=0.05)
    async with server.transaction([ADA]) as connection:
        await put(connection, "moby")
    with psycopg.connect(database.owner) as other:
        other.execute("SELECT FROM reading_progress FOR UPDATE")
        with pytest.raises(Contention):
            async with server.transaction([ADA]) as connection:
                await connection.execute(TOUCH, {"key": "moby"})
        other.rollback()
    async with server.transaction([ADA]) as connection:
        await connection.execute(TOUCH, {"key": "moby"})


async def test_the_victim_of_a_deadlock_is_told_of_contention(server: Database):
    async with server.transaction([ADA]) as connection:
        await put(connection, "a")
        await put(connection, "b")
    barrier = asyncio.Barrier(2)

    async def cross(first: str, second: str) -> None:
        async with server.transaction([ADA]) as connection:
            await connection.execute(LOCK, {"key": first})
            await barrier.wait()
            await connection.execute(LOCK, {"key": second})

    outcomes = await asyncio.gather(cross("a", "b"), cross("b", "a"), return_exceptions=True)
    assert sorted(type(o).__name__ for o in outcomes) == ["Contention", "NoneType"]


async def test_a_serialisation_failure_is_contention(sql, pooled):
    sql.execute(f"ALTER DATABASE {sql.info.dbname} SET default_transaction_isolation = 'repeatable read'".encode())
    server = pooled()
    async with server.transaction([ADA]) as connection:
        await put(connection, "moby")
    with pytest.raises(Contention):  # noqa: PT012 - the transaction is what raises
        async with server.transaction([ADA]) as connection:
            sql.execute("UPDATE reading_progress SET percentage = 0.5")
            await connection.execute(TOUCH, {"key": "moby"})


async def test_a_row_that_somebody_else_inserted_first_is_contention(server: Database, sql):
    sql.execute("INSERT INTO reading_progress (owner, publication_id) VALUES (%s, 'moby')", [ADA])
    with pytest.raises(Contention):
        async with server.transaction([ADA]) as connection:
            await put(connection, "moby")


# -- the queue ---------------------------------------------------------------


async def _visit(server: Database, said: list[str], name: str, inside: asyncio.Event, proceed: asyncio.Event) -> None:
    async with server.transaction([ADA, BEN], queue=True):
        said.append(f"{name} in")
        inside.set()
        await proceed.wait()
        said.append(f"{name} out")


async def test_two_queued_transactions_of_one_owner_run_one_after_the_other(server: Database, sql):
    said: list[str] = []
    inside, proceed = asyncio.Event(), asyncio.Event()
    writers = [asyncio.create_task(_visit(server, said, name, inside, proceed)) for name in ("first", "second")]
    await inside.wait()
    await _until(sql, _waits("advisory"))
    assert len(said) == 1
    proceed.set()
    await asyncio.gather(*writers)
    assert said in (
        ["first in", "first out", "second in", "second out"],
        ["second in", "second out", "first in", "first out"],
    )


async def test_queued_transactions_of_two_owners_run_beside_each_other(server: Database):
    barrier = asyncio.Barrier(2)

    async def write(owner: str) -> None:
        async with server.transaction([owner], queue=True):
            await barrier.wait()

    async with asyncio.timeout(20):
        await asyncio.gather(write(ADA), write(BEN))


async def test_queued_transactions_that_share_owners_in_any_order_do_not_deadlock(server: Database):
    async def write(owners: list[str]) -> None:
        async with server.transaction(owners, queue=True):
            pass

    owners = [f"user:{i}" for i in range(20)]
    await asyncio.gather(*(write(owners if i % 2 else owners[::-1]) for i in range(20)))


async def test_one_that_does_not_queue_waits_for_nobody(server: Database):
    async with server.transaction([ADA], queue=True), server.transaction([ADA]) as connection:
        await put(connection, "moby")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://host/name", "postgresql+psycopg://host/name"),
        ("postgres:///name?host=/run", "postgresql+psycopg:///name?host=/run"),
        ("postgresql+psycopg://host/name", "postgresql+psycopg://host/name"),
    ],
)
def test_any_way_to_write_a_url_is_the_drivers(url: str, shown: str):
    assert driver_url(url) == shown
