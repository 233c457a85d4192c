import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from syncserver.core.errors import Unavailable
from syncserver.feed.sweeper import Sweeper

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class World:
    def __init__(self, every_s: float = 3600) -> None:
        self.positions = {"user:ada": 5, "user:eve": 0, "user:new": 0}
        self.heads = {"user:ada": 5, "user:eve": 0}
        self.epoch = "e"
        self.away = False
        self.now = NOON
        self.read_s = timedelta()
        self.rung: list[str] = []
        self.epochs: list[str] = []
        self.swept = asyncio.Semaphore(0)
        self.sweeper = Sweeper(
            every_s=every_s,
            now=lambda: self.now,
            watched=lambda: self.positions,
            read=self.read,
            ring=self.rung.append,
            moved=self.epochs.append,
        )

    async def read(self, owners: Sequence[str]) -> tuple[str, dict[str, int]]:
        assert list(owners) == list(self.positions)
        self.now += self.read_s
        self.swept.release()
        if self.away:
            raise Unavailable("away")
        return self.epoch, self.heads


async def test_only_channels_that_are_not_where_their_news_ended_are_rung():
    world = World()
    await world.sweeper.sweep()
    assert world.rung == []
    world.heads = {"user:ada": 6, "user:eve": 0, "user:new": 1}
    await world.sweeper.sweep()
    assert world.rung == ["user:ada", "user:new"]


async def test_a_log_that_went_back_or_vanished_is_rung_too():
    world = World()
    world.heads = {"user:eve": 0}
    await world.sweeper.sweep()
    assert world.rung == ["user:ada"]


async def test_every_sweep_tells_the_epoch_it_saw():
    world = World()
    await world.sweeper.sweep()
    world.epoch = "f"
    await world.sweeper.sweep()
    assert world.epochs == ["e", "f"]


async def test_positions_are_known_to_be_true_as_of_the_beginning_of_the_last_good_sweep():
    world = World()
    assert world.sweeper.swept_at is None
    world.read_s = timedelta(seconds=2)
    await world.sweeper.sweep()
    assert world.sweeper.swept_at == NOON


async def test_it_sweeps_at_once_then_each_turn_and_soon_when_asked():
    for every_s, asked in ((0.001, False), (3600, True)):
        world = World(every_s)
        task = asyncio.create_task(world.sweeper.run())
        async with asyncio.timeout(10):
            for _ in range(3):
                await world.swept.acquire()
                if asked:
                    world.sweeper.soon()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(world.epochs) >= 2


async def test_an_outage_is_waited_out_and_leaves_what_was_known():
    world = World(every_s=0.001)
    world.away = True
    task = asyncio.create_task(world.sweeper.run())
    async with asyncio.timeout(10):
        for _ in range(3):
            await world.swept.acquire()
        assert world.sweeper.swept_at is None
        world.away = False
        while world.sweeper.swept_at is None:
            await world.swept.acquire()
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert world.epochs[0] == "e"
