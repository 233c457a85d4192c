import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager

import pytest

from syncserver.core.change import Page
from syncserver.core.errors import Unavailable
from syncserver.feed import feed as feed_module
from syncserver.feed.feed import Feed

ADA, EVE = "user:ada", "user:eve"


class World:
    """A log, positions, and what the feed did: every read waits until the test lets it go."""

    def __init__(self) -> None:
        self.heads = {ADA: 1, EVE: 1}
        self.positions = {ADA: 0, EVE: 0}
        self.floors = {ADA: 0, EVE: 0}
        self.epoch = "e"
        self.limit = 100
        self.away = False
        self.reads: list[dict[str, int]] = []
        self.published: list[Page] = []
        self.refetched: list[tuple[str, str]] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self.doubts = 0
        self.feed = Feed(
            watched=self.watched, read=self.read, publish=self.publish, refetch=self.refetch, doubt=self.doubt
        )

    def watched(self, owners: Collection[str]) -> dict[str, int]:
        return {owner: at for owner, at in self.positions.items() if owner in owners}

    async def read(self, after: Mapping[str, int]) -> dict[str, Page]:
        self.reads.append(dict(after))
        self.begun.set()
        await self.go.wait()
        if self.away:
            raise Unavailable("away")
        return {owner: self.page(owner, since) for owner, since in after.items()}

    def page(self, owner: str, since: int) -> Page:
        head = self.heads[owner]
        until = max(since, min(head, since + self.limit))
        return Page(owner, self.epoch, since, until, self.floors[owner], head, [], more=until < head)

    def publish(self, page: Page) -> None:
        self.published.append(page)
        self.positions[page.owner] = page.until

    def refetch(self, owner: str, reason: str) -> None:
        self.refetched.append((owner, reason))

    def doubt(self) -> None:
        self.doubts += 1


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    task = asyncio.create_task(world.feed.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def settled(found: Callable[[], bool]) -> None:
    """Let the other task go on until this is so."""
    async with asyncio.timeout(10):
        while not found():  # noqa: ASYNC110 - one turn of the loop, no time
            await asyncio.sleep(0)


async def test_a_doorbell_has_the_log_read_from_the_position_and_passed_on():
    world = World()
    async with running(world):
        world.feed.ring(ADA)
        await settled(lambda: not world.feed.pending(ADA))
    assert world.reads == [{ADA: 0}]
    assert [(p.owner, p.since, p.until) for p in world.published] == [(ADA, 0, 1)]


async def test_doorbells_during_a_read_wait_together_for_the_next():
    world = World()
    world.go.clear()
    async with running(world):
        world.feed.ring(ADA)
        await world.begun.wait()
        world.heads = {ADA: 9, EVE: 4}
        for owner in (ADA, EVE, ADA, EVE, ADA):
            world.feed.ring(owner)
        world.go.set()
        await settled(lambda: not world.feed.pending(ADA) and not world.feed.pending(EVE))
    assert world.reads[0] == {ADA: 0}
    assert len(world.reads) == 2
    assert world.reads[1].keys() == {ADA, EVE}
    assert world.positions == {ADA: 9, EVE: 4}


async def test_a_doorbell_is_pending_until_what_it_meant_was_passed_on():
    world = World()
    world.go.clear()
    assert not world.feed.pending(ADA)
    async with running(world):
        world.feed.ring(ADA)
        assert world.feed.pending(ADA)
        await world.begun.wait()
        assert world.feed.pending(ADA)
        assert not world.feed.pending(EVE)
        world.go.set()
        await settled(lambda: not world.feed.pending(ADA))
    assert world.published


async def test_nothing_is_read_for_owners_that_nobody_here_listens_to():
    world = World()
    async with running(world):
        world.feed.ring("user:nobody")
        await settled(lambda: not world.feed.pending("user:nobody"))
    assert world.reads == []


async def test_a_doorbell_without_news_publishes_nothing():
    world = World()
    world.heads[ADA] = 0
    async with running(world):
        world.feed.ring(ADA)
        await settled(lambda: not world.feed.pending(ADA))
    assert (len(world.reads), world.published, world.refetched) == (1, [], [])


async def test_a_log_longer_than_a_page_is_read_to_its_end():
    world = World()
    world.heads[ADA], world.limit = 10, 4
    async with running(world):
        world.feed.ring(ADA)
        await settled(lambda: world.positions[ADA] == 10 and not world.feed.pending(ADA))
    assert [(p.since, p.until) for p in world.published] == [(0, 4), (4, 8), (8, 10)]


async def test_an_outage_is_waited_out_and_who_rang_stays_rung(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feed_module, "_RETRY_S", 0)
    world = World()
    world.away = True
    async with running(world):
        world.feed.ring(ADA)
        await settled(lambda: len(world.reads) >= 3)
        assert world.feed.pending(ADA)
        assert world.published == []
        world.away = False
        await settled(lambda: not world.feed.pending(ADA))
    assert world.positions[ADA] == 1


@pytest.mark.parametrize(("change", "reason"), [("epoch", "epoch"), ("head", "ahead"), ("floor", "floor")])
async def test_a_log_that_is_not_the_one_read_before_has_to_be_fetched_again(change: str, reason: str):
    world = World()
    assert not world.feed.new_epoch("e")
    world.positions[ADA] = 5
    world.heads[ADA] = 4 if change == "head" else 6
    world.floors[ADA] = 6 if change == "floor" else 0
    world.epoch = "other" if change == "epoch" else "e"
    async with running(world):
        world.feed.ring(ADA)
        await settled(lambda: not world.feed.pending(ADA))
    assert (world.refetched, world.published) == ([(ADA, reason)], [])
    assert world.doubts == (change == "epoch")  # of a new epoch everybody has to hear, and soon


async def test_more_owners_than_one_read_takes_are_read_one_after_the_other(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feed_module, "_OWNERS_AT_ONCE", 2)
    world = World()
    owners = [f"user:{n}" for n in range(5)]
    world.positions = dict.fromkeys(owners, 0)
    world.heads = dict.fromkeys(owners, 1)
    world.floors = dict.fromkeys(owners, 0)
    async with running(world):
        for owner in owners:
            world.feed.ring(owner)
        await settled(lambda: not any(world.feed.pending(owner) for owner in owners))
    assert [len(read) for read in world.reads] == [2, 2, 1]
    assert set(world.positions.values()) == {1}


def test_an_epoch_is_new_only_after_another():
    world = World()
    assert [world.feed.new_epoch(e) for e in ("a", "a", "b", "b")] == [False, False, True, False]
    assert world.feed.epoch == "b"
