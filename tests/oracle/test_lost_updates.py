"""Common cursors lose rows that commit late, each time; the read door never does."""

import asyncio
import random
from collections.abc import AsyncIterator

import psycopg
import pytest

from tests.harness import Urls
from tests.oracle.acts import OWNERS
from tests.oracle.control import WAYS, ById, ByOffset, ByStamp, Way, contest, good

WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %s"


@pytest.fixture
async def writers(database: Urls) -> AsyncIterator[list[psycopg.AsyncConnection]]:
    made = [await psycopg.AsyncConnection.connect(database.owner, autocommit=True) for _ in range(3)]
    yield made
    for connection in made:
        await connection.close()


async def opened(way: type[ById | ByStamp], urls: Urls, writer: psycopg.AsyncConnection) -> Way:
    await writer.execute(way.schema.encode())
    return await way.opened(urls)


@pytest.mark.parametrize("way", [ById, ByStamp])
async def test_a_row_that_commits_after_a_later_one_was_read_is_never_seen(database: Urls, writers, way):
    reader, (late, early, _) = await opened(way, database, writers[0]), writers
    async with late.transaction():
        await late.execute(way.insert.encode(), ["late"])
        await early.execute(way.insert.encode(), ["early"])
        assert await reader.read() == ["early"]
    assert await reader.read() == []
    await early.execute(way.insert.encode(), ["last"])
    assert await reader.read() == ["last"]
    await reader.close()


async def test_the_read_door_shows_a_row_that_commits_late_of_another_owner(database: Urls, writers):
    reader, (late, early, _) = await ByOffset.opened(database), writers
    async with late.transaction():
        await late.execute(ByOffset.insert.encode(), [OWNERS[0], "late"])
        await early.execute(ByOffset.insert.encode(), [OWNERS[1], "early"])
        assert await reader.read() == ["early"]
    assert await reader.read() == ["late"]
    await reader.close()


async def test_a_later_writer_of_the_same_owner_waits_so_that_both_are_seen_in_order(database: Urls, writers):
    reader, (first, second, watcher) = await ByOffset.opened(database), writers
    async with first.transaction():
        await first.execute(ByOffset.insert.encode(), [OWNERS[0], "first"])
        behind = asyncio.create_task(second.execute(ByOffset.insert.encode(), [OWNERS[0], "second"]))
        while await (await watcher.execute(WAITS, [second.info.backend_pid])).fetchone() == (0,):
            assert not behind.done()
        assert await reader.read() == []
    await behind
    assert await reader.read() == ["first", "second"]
    await reader.close()


async def test_under_load_the_common_cursors_lose_rows_and_the_read_door_none(database: Urls):
    seed = random.randrange(10**6)
    losses = [await contest(way, database, seed, transactions=40) for way in WAYS]
    assert good(losses), (seed, [loss.line() for loss in losses])
    assert [loss.untrue for loss in losses] == [0, 0, 0]
