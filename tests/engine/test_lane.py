"""The way to the database for what is ephemeral is narrow, and says once that it is blocked."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from syncserver.core.errors import Unavailable
from syncserver.engine.lane import Lane
from syncserver.storage.database import Database


async def test_no_more_transactions_are_open_at_once_than_there_is_room_for(server: Database):
    lane = Lane(server, width=2)
    async with AsyncExitStack() as two:
        for _ in range(2):
            await two.enter_async_context(lane.transaction([]))
        third = asyncio.create_task(_open_and_close(lane))
        for _ in range(20):  # turns of the loop, in which it could begin if it were let
            await asyncio.sleep(0)
        assert lane._room.locked()
        assert not third.done()
    async with asyncio.timeout(20):
        await third


async def _open_and_close(lane: Lane) -> None:
    async with lane.transaction([]):
        pass


async def test_an_outage_is_told_once_and_the_next_one_again(server: Database, caplog: pytest.LogCaptureFixture):
    lane = Lane(server)
    away = Lane(Database("postgresql://127.0.0.1:1/none"))
    for _ in range(3):
        with pytest.raises(Unavailable):
            await _open_and_close(away)
    assert [record.getMessage() for record in caplog.records] == ["presence and notes wait for the database"]
    away._database = server
    await _open_and_close(away)
    assert away._away is False
    await _open_and_close(lane)
    assert len(caplog.records) == 1
