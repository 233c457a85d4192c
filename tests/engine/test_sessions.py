"""Sessions: one key each, an answer that may be given again for a while, and an end that nothing overtakes."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest

from syncserver.core.actor import session_owner
from syncserver.core.errors import NotFound, Unavailable
from syncserver.engine import tokens
from syncserver.engine.sessions import Begun, Sessions
from syncserver.storage.database import Database
from tests.harness import SECRET, Urls, free_port, until_locked_out


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def ended() -> list[str]:
    """The owners whose sessions this process ended."""
    return []


@pytest.fixture
def house(server: Database, ended: list[str]) -> Sessions:
    return Sessions(server, SECRET, now, ended=ended.append)


def owner(begun: Begun) -> str:
    return session_owner(begun.id)


async def test_a_session_has_an_id_of_its_own_and_a_token_that_names_it(house: Sessions):
    made = [await house.begin() for _ in range(20)]
    assert len({begun.id for begun in made}) == len({begun.token for begun in made}) == 20
    assert {begun.id.version for begun in made} == {4}
    for begun in made:
        actor = await tokens.verifier(SECRET)(begun.token)
        assert actor.owner == owner(begun)
        assert actor.expires_at is not None
        assert abs((actor.expires_at - begun.kept.expires_at).days) <= 1


async def test_a_crowd_is_let_in_by_a_few_transactions(house: Sessions, sql: psycopg.Connection):
    made = await asyncio.gather(*(house.begin() for _ in range(500)))
    assert len({begun.id for begun in made}) == len({begun.token for begun in made}) == 500
    [row] = sql.execute("SELECT count(*), count(DISTINCT id), count(DISTINCT xmin::text) FROM sessions").fetchall()
    assert row == (500, 500, 3)


async def test_those_who_gave_up_take_nothing_from_the_others(house: Sessions):
    impatient, patient = asyncio.create_task(house.begin()), asyncio.create_task(house.begin())
    await asyncio.sleep(0)
    impatient.cancel()
    assert await house.exists(owner(await patient), (await patient).id)
    assert impatient.cancelled()
    assert (await house.begin()).token


async def test_an_answer_is_given_again_until_it_is_touched_or_its_bell_rings(house: Sessions, sql: psycopg.Connection):
    begun = await house.begin()
    first = await house.validate(owner(begun), begun.id)
    assert await house.validate(owner(begun), begun.id) is first

    house.forget(owner(begun))
    second = await house.validate(owner(begun), begun.id)
    assert second.last_accessed > first.last_accessed

    house.forget_all()
    sql.execute("DELETE FROM sessions")
    with pytest.raises(NotFound):
        await house.validate(owner(begun), begun.id)


async def test_an_answer_is_not_given_again_when_it_is_old(server: Database):
    house = Sessions(server, SECRET, now, fresh_s=0)
    begun = await house.begin()
    first = await house.validate(owner(begun), begun.id)
    assert (await house.validate(owner(begun), begun.id)).last_accessed > first.last_accessed


async def test_only_so_many_answers_are_kept(server: Database):
    house = Sessions(server, SECRET, now, remembered=2)
    made = [await house.begin() for _ in range(3)]
    first, *_ = [await house.validate(owner(begun), begun.id) for begun in made]
    assert (await house.validate(owner(made[0]), made[0].id)).last_accessed > first.last_accessed
    assert len(house._known) == 2


async def test_an_answer_that_was_on_its_way_when_the_bell_rang_is_not_kept(
    house: Sessions, database: Urls, sql: psycopg.Connection
):
    begun = await house.begin()
    with psycopg.connect(database.owner) as another:
        another.execute("SELECT FROM sessions FOR UPDATE")
        asking = asyncio.create_task(house.validate(owner(begun), begun.id))
        await asyncio.to_thread(until_locked_out, sql, "%UPDATE sessions%")
        house.forget(owner(begun))
        another.commit()
    first = await asking
    assert (await house.validate(owner(begun), begun.id)).last_accessed > first.last_accessed


async def test_of_two_answers_on_their_way_the_one_asked_for_after_the_bell_is_kept(
    house: Sessions, database: Urls, sql: psycopg.Connection
):
    begun = await house.begin()
    with psycopg.connect(database.owner) as another:
        another.execute("SELECT FROM sessions FOR UPDATE")
        before = asyncio.create_task(house.validate(owner(begun), begun.id))
        await asyncio.to_thread(until_locked_out, sql, "%UPDATE sessions%")
        house.forget(owner(begun))
        after = asyncio.create_task(house.validate(owner(begun), begun.id))
        await asyncio.sleep(0)
        another.commit()
    _, kept = await asyncio.gather(before, after)
    assert await house.validate(owner(begun), begun.id) is kept


async def test_a_session_that_is_not_there_leaves_nothing_behind(house: Sessions, sql: psycopg.Connection):
    begun = await house.begin()
    sql.execute("DELETE FROM sessions")
    with pytest.raises(NotFound):
        await house.validate(owner(begun), begun.id)
    assert (house._known, house._reading) == ({}, {})


async def test_a_claimed_session_is_asked_for_each_time(house: Sessions, sql: psycopg.Connection):
    begun = await house.begin()
    sql.execute("UPDATE sessions SET owner = 'user:ada'")
    first = await house.validate("user:ada", begun.id)
    assert (await house.validate("user:ada", begun.id)).last_accessed > first.last_accessed
    with pytest.raises(NotFound):
        await house.validate(owner(begun), begun.id)


async def test_an_end_is_told_at_once_and_there_is_no_second_one(house: Sessions, ended: list[str]):
    begun = await house.begin()
    await house.validate(owner(begun), begun.id)
    assert await house.exists(owner(begun), begun.id)
    await house.end(owner(begun), begun.id)
    assert ended == [owner(begun)]
    assert not await house.exists(owner(begun), begun.id)
    for verb in (house.end, house.validate, house.touch):
        with pytest.raises(NotFound):
            await verb(owner(begun), begun.id)


async def test_the_end_of_a_claimed_one_ends_no_reader(house: Sessions, sql: psycopg.Connection, ended: list[str]):
    begun = await house.begin()
    sql.execute("UPDATE sessions SET owner = 'user:ada'")
    await house.end("user:ada", begun.id)
    assert ended == []


async def test_the_end_waits_for_a_write_that_was_there_before(
    house: Sessions, server: Database, sql: psycopg.Connection
):
    begun = await house.begin()
    async with server.transaction([owner(begun)], queue=True) as connection:
        ending = asyncio.create_task(house.end(owner(begun), begun.id))
        await asyncio.to_thread(until_locked_out, sql, "%pg_advisory_xact_lock%")
        await connection.exec_driver_sql(
            "INSERT INTO reading_progress (owner, publication_id, updated_at) VALUES (%s, 'moby', now())",
            (owner(begun),),
        )
    await ending
    assert sql.execute("SELECT FROM reading_progress").rowcount == 0


async def test_it_is_tried_again_when_a_writer_was_in_the_way(database: Urls, sql: psycopg.Connection):
    impatient = Database(database.server, lock_timeout_s=0.05)
    house = Sessions(impatient, SECRET, now)
    begun = await house.begin()
    with psycopg.connect(database.owner) as another:
        another.execute("SELECT FROM sessions FOR UPDATE")
        touching = asyncio.create_task(house.touch(owner(begun), begun.id))
        for _ in range(2):
            await asyncio.to_thread(until_locked_out, sql, "%UPDATE sessions%")
        another.commit()
    await touching
    await impatient.close()


@pytest.fixture
async def away() -> AsyncIterator[Sessions]:
    """Sessions of a database that is not there."""
    nowhere = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/none", connect_timeout_s=1)
    yield Sessions(nowhere, SECRET, now)
    await nowhere.close()


async def test_without_a_database_nothing_is_said_to_have_happened(away: Sessions, caplog: pytest.LogCaptureFixture):
    session_id = UUID(int=uuid4().int)
    held = session_owner(session_id)
    with pytest.raises(Unavailable):
        await away.begin()
    for verb in (away.validate, away.touch, away.end):
        with pytest.raises(Unavailable):
            await verb(held, session_id)
    ours = [(r.levelno, r.getMessage()) for r in caplog.records if r.name.startswith("syncserver")]
    assert [level for level, _ in ours] == [logging.WARNING] * 4
    assert [text.split(":")[0] for _, text in ours] == [
        "anonymous sessions could not be made",
        "an anonymous session could not be touched",
        "an anonymous session could not be touched",
        "an anonymous session could not be deleted",
    ]
    assert not any(str(session_id) in text for _, text in ours)
