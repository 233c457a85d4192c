"""Who is here is a row, which lives as long as its process shows that it does."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError

from syncserver.storage import notes, presences
from syncserver.storage.database import Database
from syncserver.storage.presences import Name, Present
from tests.harness import Urls

ADA, BEN = "user:ada", "user:ben"
SINCE = datetime(2026, 3, 1, 8, 15, 0, 123456, UTC)
ONE, TWO = str(uuid4()), str(uuid4())
"""Two server processes."""


def present(owner: str = ADA, state: str | None = '{"page": 7}', name: str | None = "Ada's phone") -> Present:
    return Present(owner, str(uuid4()), "phone", name, None, state, SINCE)


async def alive(server: Database, process: str = ONE, silent_s: float = 30) -> bool:
    async with server.transaction([]) as connection:
        return await presences.alive(connection, process, silent_s)


async def write(server: Database, *here: Present, gone: list[Name] | None = None, process: str = ONE) -> None:
    async with server.transaction({p.owner for p in here} | {owner for owner, _ in gone or []}) as connection:
        await presences.write(connection, process, here, gone or [])


async def read(server: Database, *owners: str, silent_s: float = 30) -> list[Present]:
    async with server.transaction(owners) as connection:
        return await presences.read(connection, owners, silent_s)


@pytest.fixture
def ears(database: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.owner, autocommit=True) as connection:
        connection.execute(f"LISTEN {notes.CHANNEL}".encode())
        yield connection


def heard(ears: psycopg.Connection, count: int) -> list[str]:
    return [notify.payload for notify in ears.notifies(timeout=20, stop_after=count)]


def silence(sql: psycopg.Connection, process: str, seconds: int) -> None:
    sql.execute(
        "UPDATE processes SET seen_at = clock_timestamp() - make_interval(secs => %s) WHERE id = %s", [seconds, process]
    )


async def test_who_is_here_is_read_as_it_was_written(server: Database):
    plain, odd = present(), present(state='{"a": "\\u0000 \\"naïve\\""}', name=None)
    await alive(server)
    await write(server, plain, odd)
    found = await read(server, ADA)
    assert {p.connection: p for p in found} == {p.connection: p for p in (plain, odd)}
    assert all(p.seen_at is not None and p.seen_at > SINCE for p in found)


async def test_a_new_state_takes_the_place_of_the_old_and_nobody_comes_twice(server: Database):
    first = present()
    await alive(server)
    await write(server, first)
    await write(server, replace(first, state=None))
    assert await read(server, ADA) == [replace(first, state=None)]


async def test_who_left_is_gone_and_the_others_stay(server: Database):
    leaves, stays = present(), present()
    await alive(server)
    await write(server, leaves, stays)
    await write(server, gone=[leaves.name])
    assert await read(server, ADA) == [stays]


async def test_each_change_rings_its_owners_once_and_says_no_more(server: Database, ears: psycopg.Connection):
    first, second = present(), present()
    await write(server, first, second, present(BEN))
    assert heard(ears, 2) == [f"presence {ADA}", f"presence {BEN}"]
    await write(server, first, gone=[second.name])
    await write(server, gone=[first.name])
    await write(server, present(BEN))
    assert heard(ears, 3) == [f"presence {ADA}", f"presence {ADA}", f"presence {BEN}"]


async def test_only_those_who_are_asked_for_are_answered(server: Database):
    await alive(server)
    ada, ben = present(), present(BEN)
    await write(server, ada, ben)
    assert await read(server, BEN) == [ben]
    async with server.transaction([ADA]) as connection:
        assert await presences.read(connection, [ADA, BEN], 30) == [ada]


async def test_nobody_is_here_for_an_owner_that_the_transaction_does_not_name(
    server: Database, sql: psycopg.Connection
):
    ben = present(BEN)
    await write(server, ben)
    with pytest.raises(DBAPIError, match="row-level security"):
        async with server.transaction([ADA]) as connection:
            await presences.write(connection, ONE, [present(BEN)], [])
    async with server.transaction([ADA]) as connection:
        await presences.write(connection, ONE, [], [ben.name])
    assert sql.execute("SELECT owner, connection::text FROM presences").fetchall() == [ben.name]


async def test_a_process_is_known_from_its_first_sign_on_until_it_was_silent(server: Database, sql: psycopg.Connection):
    assert [await alive(server), await alive(server)] == [False, True]
    silence(sql, ONE, 31)
    assert [await alive(server), await alive(server)] == [False, True]
    sql.execute("DELETE FROM processes")
    assert [await alive(server), await alive(server)] == [False, True]


async def test_who_is_here_in_a_process_without_a_sign_is_not_shown(server: Database, sql: psycopg.Connection):
    await write(server, present())
    assert await read(server, ADA) == []
    await alive(server)
    assert len(await read(server, ADA)) == 1
    silence(sql, ONE, 31)
    assert await read(server, ADA) == []


async def test_a_sign_of_its_process_is_a_sign_of_the_device(server: Database):
    await alive(server)
    await write(server, present())
    [before] = await read(server, ADA)
    await alive(server)
    [after] = await read(server, ADA)
    assert before.seen_at is not None
    assert after.seen_at is not None
    assert after.seen_at > before.seen_at


async def test_what_a_silent_process_left_is_cleared_by_another_and_its_owners_are_rung(
    server: Database, sql: psycopg.Connection, ears: psycopg.Connection
):
    await alive(server, ONE)
    await alive(server, TWO)
    mine = present()
    await write(server, present(), present(), present(BEN), process=ONE)
    await write(server, mine, process=TWO)
    assert len(heard(ears, 3)) == 3
    silence(sql, ONE, 31)
    await alive(server, TWO)
    assert sorted(heard(ears, 2)) == [f"presence {ADA}", f"presence {BEN}"]
    assert sql.execute("SELECT connection::text FROM presences").fetchall() == [(mine.connection,)]
    assert sql.execute("SELECT id::text FROM processes").fetchall() == [(TWO,)]


async def test_what_a_forgotten_process_writes_is_cleared_too(server: Database, sql: psycopg.Connection):
    await write(server, present(), process=ONE)
    await alive(server, TWO)
    assert sql.execute("SELECT count(*) FROM presences").fetchone() == (0,)


async def test_old_notes_and_tickets_are_cleared_and_new_ones_stay(server: Database, sql: psycopg.Connection):
    for age in ("31 seconds", "1 second"):
        sql.execute("SET syncserver.owners = '{user:ada}'")
        sql.execute(
            "INSERT INTO notes (owner, kind, body, created_at) VALUES (%s, 'broadcast', %s, now() - %s::interval)",
            [ADA, age, age],
        )
        sql.execute("INSERT INTO tickets VALUES (%s, %s, NULL, now() + '30 seconds' - %s::interval)", [age, ADA, age])
    await alive(server)
    assert sql.execute("SELECT body FROM notes").fetchall() == [("1 second",)]
    assert sql.execute("SELECT convert_from(hash, 'UTF8') FROM tickets").fetchall() == [("1 second",)]


async def test_many_processes_that_clear_up_at_once_ring_each_owner_once(
    server: Database, sql: psycopg.Connection, ears: psycopg.Connection
):
    await write(server, *(present(f"user:{n}") for n in range(100)), process=ONE)
    assert len(heard(ears, 100)) == 100
    await asyncio.gather(*(alive(server, str(uuid4())) for _ in range(10)))
    assert sorted(heard(ears, 100)) == sorted(f"presence user:{n}" for n in range(100))
    await write(server, present())
    assert heard(ears, 1) == [f"presence {ADA}"]
    assert sql.execute("SELECT count(*) FROM processes").fetchone() == (10,)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO processes VALUES (gen_random_uuid(), now())",
        "UPDATE processes SET seen_at = now()",
        "DELETE FROM processes",
        "UPDATE notes SET body = 'forged'",
        "TRUNCATE presences",
    ],
)
def test_no_sign_of_life_can_be_forged_past_the_function_and_no_note_changed(database: Urls, statement: str):
    with psycopg.connect(database.server) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_without_an_owner_named_nobody_is_here_and_there_are_no_notes(database: Urls, sql: psycopg.Connection):
    sql.execute("INSERT INTO notes (owner, kind, body) VALUES ('user:ada', 'broadcast', '{}')")
    sql.execute(
        "INSERT INTO presences (owner, connection, process, device_id, since, seen_at)"
        " VALUES ('user:ada', gen_random_uuid(), gen_random_uuid(), 'phone', now(), now())"
    )
    with psycopg.connect(database.server) as connection:
        for table in ("notes", "presences"):
            assert connection.execute(f"SELECT * FROM {table}".encode()).fetchall() == []
            assert connection.execute(f"DELETE FROM {table}".encode()).rowcount == 0
