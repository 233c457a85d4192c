"""How owners stand: known ones cost nothing, all who wait cost one statement, and nothing stays that may be untrue."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import psycopg
import pytest

from syncserver.core.errors import Unavailable
from syncserver.engine.standings import Standings
from syncserver.storage import revocations
from syncserver.storage.database import Database
from syncserver.storage.revocations import Standing
from tests.harness import Urls, asked_of, until_locked_out


def questions(asked: list[str]) -> int:
    """How many of these ask for standings."""
    return sum("sync_standing" in statement for statement in asked)


@pytest.fixture
async def away() -> AsyncIterator[Database]:
    """A database that does not answer."""
    database = Database("postgresql://nobody@127.0.0.1:1/none", connect_timeout_s=2)
    yield database
    await database.close()


async def revoke(server: Database, owner: str, token_id: str) -> None:
    async with server.transaction([owner]) as connection:
        await revocations.revoke(connection, owner, token_id)


async def test_a_known_owner_costs_no_statement(server: Database):
    standings = Standings(server)
    await revoke(server, "user:ada", "t1")
    with asked_of(server) as asked:
        for _ in range(10):
            assert await standings.of("user:ada") == Standing("open", frozenset({"t1"}))
    assert questions(asked) == 1


async def test_all_who_wait_at_once_are_asked_for_in_one_statement(server: Database):
    standings = Standings(server)
    owners = [f"user:reader {n}" for n in range(100)]
    with asked_of(server) as asked:
        found = await asyncio.gather(*(standings.of(owner) for owner in owners * 3))
    assert found == [Standing()] * 300
    assert questions(asked) == 1


async def test_a_session_is_open_then_claimed_or_ended(server: Database, sql: psycopg.Connection):
    claimed, deleted, never = (uuid4() for _ in range(3))
    owners = [f"session:{session_id}" for session_id in (claimed, deleted, never)]
    standings = Standings(server)

    async def states() -> list[str]:
        standings.drop_all()
        return [(await standings.of(owner)).state for owner in owners]

    for owner, session_id in zip(owners[:2], (claimed, deleted), strict=True):
        sql.execute("INSERT INTO sessions (owner, id, updated_at) VALUES (%s, %s, now())", [owner, session_id])
    assert await states() == ["open", "open", "ended"]
    sql.execute("UPDATE sessions SET owner = 'user:ada' WHERE id = %s", [claimed])
    sql.execute("DELETE FROM sessions WHERE id = %s", [deleted])
    assert await states() == ["claimed", "ended", "ended"]


async def test_what_was_dropped_is_asked_again(server: Database):
    standings = Standings(server)
    await standings.of("user:ada")
    await standings.of("user:eve")
    await revoke(server, "user:ada", "t1")
    assert (await standings.of("user:ada")).token_ids == frozenset()  # until its doorbell rings
    standings.drop("user:ada")
    assert standings.known("user:ada") is None
    assert standings.known("user:eve") == Standing()
    assert (await standings.of("user:ada")).token_ids == {"t1"}
    standings.drop_all()
    assert standings.known("user:eve") is None


@pytest.mark.parametrize("everything", [False, True])
async def test_what_was_being_read_when_the_doorbell_rang_is_not_kept(
    server: Database, database: Urls, sql: psycopg.Connection, everything: bool
):
    standings = Standings(server)
    async with being_read(standings, database, sql) as reading:
        (standings.drop_all if everything else lambda: standings.drop("user:ada"))()
    assert await reading == Standing()
    assert standings.known("user:ada") is None


async def test_who_asks_after_the_doorbell_is_not_answered_with_what_was_read_before(
    server: Database, database: Urls, sql: psycopg.Connection
):
    standings = Standings(server)
    with asked_of(server) as asked:
        async with being_read(standings, database, sql) as reading:
            standings.drop("user:ada")
            again = asyncio.create_task(standings.of("user:ada"))
            await asyncio.sleep(0)
        await asyncio.gather(reading, again)
    assert questions(asked) == 2
    assert standings.known("user:ada") == Standing()


@asynccontextmanager
async def being_read(
    standings: Standings, database: Urls, sql: psycopg.Connection
) -> AsyncIterator[asyncio.Task[Standing]]:
    """Ada's standing, asked for and on its way until the end."""
    with psycopg.connect(database.owner) as lock:
        lock.execute("LOCK TABLE revocations")
        reading = asyncio.create_task(standings.of("user:ada"))
        await asyncio.to_thread(until_locked_out, sql, "%sync_standing%")
        yield reading
        lock.commit()


async def test_nothing_old_and_not_too_much_is_kept(server: Database):
    standings = Standings(server, kept=3)
    for n in range(5):
        await standings.of(f"user:{n}")
    assert [standings.known(f"user:{n}") is not None for n in range(5)] == [False, False, True, True, True]
    brief = Standings(server, fresh_s=0)
    await brief.of("user:ada")
    assert brief.known("user:ada") is None


async def test_while_the_database_is_away_nobody_new_is_known(away: Database):
    standings = Standings(away)
    found = await asyncio.gather(*(standings.of(f"user:{n}") for n in range(20)), return_exceptions=True)
    assert [type(error) for error in found] == [Unavailable] * 20
    assert len({id(error) for error in found}) == 20  # one raised twice would grow with each
    with pytest.raises(Unavailable):
        await standings.of("user:0")


async def test_one_who_waited_and_left_takes_nobody_along(server: Database, database: Urls, sql: psycopg.Connection):
    standings = Standings(server)
    async with being_read(standings, database, sql) as gone:
        gone.cancel()
        stays = asyncio.create_task(standings.of("user:ada"))
    assert await stays == Standing()
    assert gone.cancelled()
