"""Notes are passed on once, in order, to those they are for; an outage of the database is waited out."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from syncserver.core.errors import Invalid, Unavailable
from syncserver.engine.house import Guest
from syncserver.engine.lane import Lane
from syncserver.engine.notes import Notes
from syncserver.storage import notes
from syncserver.storage.database import Database
from syncserver.storage.notes import Note
from tests.engine.conftest import NOW
from tests.engine.guests import Socket

ADA, BEN = "user:ada", "user:ben"
AWAY = "postgresql://127.0.0.1:1/none"


@asynccontextmanager
async def at_work(lane: Lane, *sockets: Socket) -> AsyncIterator[Notes]:
    """Notes for these sockets, without doorbells: the test rings."""
    found = Notes(lane, lambda owner: [s.guest for s in sockets if s.owner == owner], lambda: NOW)
    task = asyncio.create_task(found.run())
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def outage() -> Iterator[asyncio.Event]:
    """Set when an outage was logged."""
    begun = asyncio.Event()

    class Heard(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            begun.set()

    heard = Heard()
    logging.getLogger(Lane.__module__).addHandler(heard)
    yield begun
    logging.getLogger(Lane.__module__).removeHandler(heard)


async def posted(server: Database, sql: psycopg.Connection, *left: Note) -> list[int]:
    """Leave these notes; their numbers."""
    async with server.transaction({note.owner for note in left}) as connection:
        await notes.post(connection, left)
    return [row[0] for row in sql.execute("SELECT id FROM notes ORDER BY id").fetchall()]


async def test_what_rings_during_an_outage_is_passed_on_after_it_once_and_in_order(
    server: Database, sql: psycopg.Connection, outage: asyncio.Event
):
    numbers = await posted(server, sql, *(Note(ADA, "broadcast", str(n)) for n in range(200)))
    lane, phone = Lane(Database(AWAY)), Socket()
    async with at_work(lane, phone) as passed:
        for number in numbers[:150]:
            passed.ring(ADA, number)
        await outage.wait()
        for number in numbers:
            passed.ring(ADA, number)
        lane._database = server
        assert [await phone.hear() for _ in numbers] == list(range(200))
        assert (phone.told.empty(), passed._rung) == (True, {})


async def test_a_note_is_for_its_owner_and_its_device_and_not_for_its_sender(server: Database, sql: psycopg.Connection):
    phone, again, tablet, ben = sockets = [Socket(), Socket(), Socket(name="tablet"), Socket(BEN)]
    left = [
        Note(ADA, "broadcast", "1", phone.guest.id),
        Note(ADA, "conflict", "2", None, "phone"),
        Note(ADA, "conflict", "3", None, "unknown"),
        Note(BEN, "broadcast", "4"),
    ]
    numbers = await posted(server, sql, *left)
    async with at_work(Lane(server), *sockets) as passed:
        for note, number in zip(left, numbers, strict=True):
            passed.ring(note.owner, number)
        assert await ben.hear() == 4
    assert [await phone.hear(), await again.hear(), await again.hear(), await tablet.hear()] == [2, 1, 2, 1]
    assert all(socket.told.empty() for socket in sockets)


async def test_whose_owner_has_nobody_here_is_not_read(server: Database):
    async with at_work(Lane(server), Socket(BEN)) as passed:
        passed.ring(ADA, 7)
        assert (passed._rung, passed._bell.is_set()) == ({}, False)


async def test_who_has_no_room_stops_no_other(server: Database, sql: psycopg.Connection):
    full, phone = Socket(room=False), Socket()
    [number] = await posted(server, sql, Note(ADA, "broadcast", "7"))
    async with at_work(Lane(server), full, phone) as passed:
        passed.ring(ADA, number)
        assert await phone.hear() == 7


async def test_what_is_sent_at_once_by_many_is_posted_together_and_all_are_told(
    server: Database, sql: psycopg.Connection
):
    sockets = [Socket(f"user:{n % 7}", f"device {n}") for n in range(150)]
    async with at_work(Lane(server), *sockets) as passed, asyncio.timeout(20):
        await asyncio.gather(*(passed.broadcast(s.guest, "topic", s.name) for s in sockets))
    found = sql.execute("SELECT owner, connection::text, count(*) FROM notes GROUP BY 1, 2").fetchall()
    assert sorted(found) == sorted((s.owner, s.guest.id, 1) for s in sockets)
    assert sql.execute("SELECT count(DISTINCT xmin::text) FROM notes").fetchone() == (3,)


async def test_a_broadcast_that_could_not_be_posted_says_so_and_the_next_one_is(server: Database):
    lane, phone = Lane(Database(AWAY)), Socket()
    async with at_work(lane, phone) as passed:
        with pytest.raises(Unavailable):
            await passed.broadcast(phone.guest, "topic", 1)
        lane._database = server
        await passed.broadcast(phone.guest, "topic", 2)


async def test_a_stream_cannot_broadcast(server: Database):
    async with at_work(Lane(server)) as passed:
        with pytest.raises(Invalid):
            await passed.broadcast(Guest(ADA, Socket().guest.goodbye, lambda _frame: False), "topic", 1)
