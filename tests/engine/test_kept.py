"""Rows kept in memory: whatever rings, runs out or is cut, no read is older than the last doorbell heard before it."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncserver.engine.kept import Kept
from syncserver.engine.pull import Pull
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog
from syncserver.storage.rows import Listed

ADA, BEN = "user:ada", "user:ben"
Place = tuple[str, str, str]


def place(key: str = "moby", owner: str = ADA) -> Place:
    return (owner, "progress", key)


def version(number: int, size: int = 0) -> Listed:
    return Listed("moby", "x" * size, number, datetime(2026, 3, 1, tzinfo=UTC))


@dataclass
class World:
    """A cache, the clock and the ear that the test moves, and how often something was read."""

    listening: bool = True
    now: float = 0.0
    row: Listed | None = field(default_factory=lambda: version(1))
    reads: int = 0

    def kept(self, **bounds: Any) -> Kept:
        return Kept(lambda: self.listening, lambda: self.now, **bounds)

    async def read(self) -> Listed | None:
        self.reads += 1
        return self.row


@pytest.fixture
def world() -> World:
    return World()


async def test_a_row_that_is_asked_for_again_is_not_read_again(world: World):
    kept = world.kept()
    for _ in range(5):
        assert await kept.row(place(), world.read) == version(1)
    assert world.reads == 1
    await kept.row(place("emma"), world.read)
    await kept.row(place(owner=BEN), world.read)
    assert world.reads == 3


async def test_that_there_is_no_row_is_not_kept(world: World):
    kept = world.kept()
    world.row = None
    assert await kept.row(place(), world.read) is None
    world.row = version(1)
    assert await kept.row(place(), world.read) == version(1)


async def test_a_row_is_kept_for_its_time_and_not_longer_however_often_it_is_used(world: World):
    kept = world.kept(keep_s=900)
    for world.now in (0.0, 400.0, 899.9):
        await kept.row(place(), world.read)
    assert world.reads == 1
    world.now = 900.0
    await kept.row(place(), world.read)
    assert world.reads == 2


async def test_the_time_of_a_row_begins_with_its_reading(world: World):
    kept = world.kept(keep_s=900)

    async def slow() -> Listed | None:
        world.now += 600.0
        return await world.read()

    await kept.row(place(), slow)
    world.now += 301.0
    await kept.row(place(), world.read)
    assert world.reads == 2


async def test_a_doorbell_drops_all_of_its_owner_and_nothing_of_others(world: World):
    kept = world.kept()
    for where in (place(), place("emma"), place(owner=BEN)):
        await kept.row(where, world.read)
    kept.drop(ADA)
    assert len(kept) == 1
    world.row = version(2)
    assert await kept.row(place(), world.read) == version(2)
    assert await kept.row(place(owner=BEN), world.read) == version(1)


async def test_while_nobody_listens_every_read_is_a_read_and_none_is_kept(world: World):
    kept = world.kept()
    await kept.row(place(), world.read)
    world.listening = False
    world.row = version(2)
    assert [await kept.row(place(), world.read) for _ in range(2)] == [version(2)] * 2
    assert world.reads == 3
    world.listening = True
    kept.drop_all()
    world.row = version(3)
    assert await kept.row(place(), world.read) == version(3)


@pytest.mark.parametrize(
    "meanwhile", ["its doorbell", "doorbells may be missed", "nobody listens", "another's doorbell"]
)
async def test_a_row_that_was_read_before_a_doorbell_is_not_kept_after_it(
    server: Database, catalog: Catalog, sql, world: World, meanwhile: str
):
    sql.execute("INSERT INTO reading_progress (owner, publication_id) VALUES (%s, 'moby')", [ADA])
    kept, pull, go_on = world.kept(), Pull(server, catalog), asyncio.Event()
    has_read = asyncio.Event()

    async def slow() -> Listed | None:
        found = await pull.row(*place())
        has_read.set()
        await go_on.wait()
        return found

    reading = asyncio.create_task(kept.row(place(), slow))
    await has_read.wait()
    sql.execute("UPDATE reading_progress SET percentage = 0.5")
    match meanwhile:
        case "its doorbell":
            kept.drop(ADA)
        case "doorbells may be missed":
            kept.drop_all()
        case "nobody listens":
            world.listening = False
        case _:
            kept.drop(BEN)
    go_on.set()
    found = await reading
    assert found is not None
    assert found.offset == 1, "it is what there was when it was asked for"
    assert len(kept) == (1 if meanwhile == "another's doorbell" else 0)
    assert kept._reads == {}


async def test_a_read_that_fails_leaves_nothing_behind(world: World):
    kept = world.kept()

    async def fails() -> Listed | None:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - it is the very one
        await kept.row(place(), fails)
    assert (len(kept), kept._reads, kept._places) == (0, {}, {})


async def test_no_more_rows_are_kept_than_allowed_and_those_used_last_stay(world: World):
    kept = world.kept(most_rows=2)
    for key in ("a", "b", "a", "c"):
        await kept.row(place(key), world.read)
    assert world.reads == 3
    await kept.row(place("a"), world.read)
    assert world.reads == 3
    await kept.row(place("b"), world.read)
    assert (world.reads, len(kept)) == (4, 2)


async def test_rows_take_no_more_memory_than_allowed_and_one_that_is_too_large_is_not_kept(world: World):
    kept = world.kept(most_bytes=20_000)
    for key, size in (("a", 8_000), ("b", 8_000), ("huge", 30_000), ("c", 8_000)):
        world.row = version(1, size)
        await kept.row(place(key), world.read)
        assert kept.size <= 20_000
    assert {where[2] for where in kept._entries} == {"b", "c"}
    kept.drop(ADA)
    assert (kept.size, kept._places) == (0, {})


async def test_where_none_may_be_kept_none_is(world: World):
    kept = world.kept(most_bytes=0)
    for _ in range(2):
        await kept.row(place(), world.read)
    assert (world.reads, len(kept)) == (2, 0)


# -- the law -----------------------------------------------------------------


@dataclass
class Asked:
    """A read under way: what it may not be older than, and the way to let it end."""

    oldest: int
    answer: asyncio.Task[Listed | None]
    go_on: asyncio.Event


class History:
    """Writes, doorbells on their way, and reads that take their time; `known` is what doorbells have told so far."""

    KEEP_S = 10.0

    def __init__(self) -> None:
        self.world = World()
        self.kept = self.world.kept(keep_s=self.KEEP_S, most_rows=2, most_bytes=4_500)
        self.written: dict[Place, list[float]] = defaultdict(list)
        self.known: dict[Place, int] = defaultdict(int)
        self.ringing: list[tuple[Place, int]] = []
        self.asked: list[Asked] = []

    def write(self, where: Place) -> None:
        self.written[where].append(self.world.now)
        if self.world.listening:
            self.ringing.append((where, self.present(where)))

    def write_here(self, where: Place) -> None:
        """Through this process, which answers only after it dropped the owner."""
        self.write(where)
        self.kept.drop(where[0])
        self.known[where] = self.present(where)

    def ring(self, _: Place) -> None:
        if self.ringing:
            where, number = self.ringing.pop(0)
            self.kept.drop(where[0])
            self.known[where] = max(self.known[where], number)

    def cut(self, _: Place) -> None:
        self.world.listening = False
        self.ringing.clear()

    def mend(self, _: Place) -> None:
        if not self.world.listening:
            self.world.listening = True
            self.kept.drop_all()
            self.known.update({where: len(times) for where, times in self.written.items()})

    def wait(self, _: Place) -> None:
        self.world.now += 6.0

    def present(self, where: Place) -> int:
        return len(self.written[where])

    async def ask(self, where: Place) -> None:
        too_old = sum(at <= self.world.now - self.KEEP_S for at in self.written[where])
        oldest = max(self.known[where], too_old) if self.world.listening else self.present(where)
        go_on = asyncio.Event()

        async def read() -> Listed | None:
            found = version(self.present(where))
            await go_on.wait()
            return found

        answer = asyncio.create_task(self.kept.row(where, read))
        self.asked.append(Asked(oldest, answer, go_on))
        await asyncio.sleep(0)
        if answer.done():
            await self.end(-1)

    async def end(self, which: int) -> None:
        asked = self.asked.pop(which)
        asked.go_on.set()
        found = await asked.answer
        assert found is not None
        assert found.offset >= asked.oldest
        self.in_order()

    def in_order(self) -> None:
        entries = self.kept._entries
        assert len(entries) <= 2
        assert self.kept.size == sum(entry.size for entry in entries.values()) <= 4_500
        assert {where for places in self.kept._places.values() for where in places} == set(entries)
        assert all(self.kept._places.values())
        assert sum(map(len, self.kept._reads.values())) <= len(self.asked)


_ACTS = ("write", "write_here", "ring", "cut", "mend", "wait", "ask", "ask", "ask", "end", "end")
_PLACES = [place("a"), place("b"), place("a", BEN)]
_histories = st.lists(st.tuples(st.sampled_from(_ACTS), st.sampled_from(_PLACES)), min_size=20, max_size=80)


async def lived(acts: list[tuple[str, Place]]) -> None:
    history = History()
    for act, where in acts:
        if act == "end":
            if history.asked:
                await history.end(0)
            continue
        done: Callable[[Place], Awaitable[None] | None] = getattr(history, act)
        waiting = done(where)
        if waiting is not None:
            await waiting
        history.in_order()
    while history.asked:
        await history.end(0)


@settings(max_examples=400, deadline=None)
@given(_histories)
async def test_no_read_is_older_than_the_last_doorbell_heard_before_it(acts: list[tuple[str, Place]]):
    await lived(acts)
