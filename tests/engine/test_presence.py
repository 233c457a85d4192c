"""Presence over a real database: written soon and seldom, told when it changed, healed after what was lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import Any

import psycopg
import pytest

from syncserver.engine.ephemera import Ephemera
from syncserver.engine.lane import Lane
from syncserver.engine.presence import Presence
from syncserver.feed.listener import Listener
from syncserver.storage import notes
from syncserver.storage.database import Database
from tests.engine.conftest import NOW
from tests.engine.guests import Socket
from tests.harness import Urls

Running = Callable[..., AbstractAsyncContextManager[Presence]]


@pytest.fixture
def running(server: Database, database: Urls) -> Running:
    """A process that shares presence, with its doorbells."""

    @asynccontextmanager
    async def run(presence_s: float = 30) -> AsyncIterator[Presence]:
        ephemera = Ephemera(server, lambda _owner: [], lambda: NOW, presence_s=presence_s)
        rings = {notes.CHANNEL: ephemera.ring}
        listener = Listener(database.server, rings=rings, listening=ephemera.listening)
        tasks = [asyncio.create_task(work()) for work in (ephemera.run, listener.run)]
        try:
            yield ephemera._presence
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await ephemera.close()

    return run


async def listed(socket: Socket, *names: str) -> None:
    """Wait until it is told of exactly these devices."""
    while sorted(device["device_id"] for device in (await socket.hear())["devices"]) != sorted(names):
        pass


def rows(sql: psycopg.Connection) -> list[tuple[Any, ...]]:
    return sql.execute("SELECT device_id, state FROM presences ORDER BY 1").fetchall()


async def test_who_had_no_room_is_told_at_a_later_sign_of_life(running: Running):
    full = Socket(room=False)
    async with running(presence_s=0.6) as presence:
        presence.here(full.guest, None)
        async with asyncio.timeout(20):
            while not presence._roll._behind:  # noqa: ASYNC110 - nobody is told that nobody was told
                await asyncio.sleep(0.01)
        full.room = True
        await listed(full)


async def test_of_states_that_come_faster_than_they_are_written_the_last_one_is(
    running: Running, sql: psycopg.Connection
):
    phone, tablet = Socket(), Socket(name="tablet")
    async with running() as presence:
        presence.here(tablet.guest, None)
        await listed(tablet)
        for page in range(1000):
            presence.here(phone.guest, {"page": page})
        await listed(tablet, "phone")
        assert rows(sql) == [("phone", '{"page":999}'), ("tablet", None)]


async def test_who_came_and_left_before_it_was_written_is_never_written(running: Running, sql: psycopg.Connection):
    phone, tablet = Socket(), Socket(name="tablet")
    async with running() as presence:
        presence.here(phone.guest, None)
        presence.left(phone.guest)
        presence.left(phone.guest)
        assert presence._unwritten == {}
        presence.here(tablet.guest, None)
        while not rows(sql):  # noqa: ASYNC110 - it hears that it is alone perhaps before it is written
            await asyncio.sleep(0.01)
        assert rows(sql) == [("tablet", None)]


async def test_at_the_end_of_a_process_its_rows_go_and_those_of_others_stay(running: Running, sql: psycopg.Connection):
    phone, tablet = Socket(), Socket(name="tablet")
    async with running() as stays:
        stays.here(tablet.guest, None)
        async with running() as ends:
            ends.here(phone.guest, None)
            await listed(tablet, "phone")
        assert rows(sql) == [("tablet", None)]
        await listed(tablet)


async def test_a_process_that_was_taken_for_dead_writes_everything_again(running: Running, sql: psycopg.Connection):
    """Its sign of life came too late: another has cleared its rows away."""
    phone, tablet = Socket(), Socket(name="tablet")
    async with running(presence_s=0.6) as late, running(presence_s=0.6) as other:
        late.here(phone.guest, {"page": 7})
        await listed(phone)
        sql.execute("DELETE FROM processes WHERE id = %s", [late._process])
        sql.execute("DELETE FROM presences")
        other.here(tablet.guest, None)
        await listed(tablet, "phone")
        await listed(phone, "tablet")


async def test_doorbells_that_were_missed_are_made_good_when_it_listens_again(
    running: Running, sql: psycopg.Connection
):
    """The other's row comes without a doorbell, as if it had rung while nobody listened."""
    phone = Socket()
    async with running() as presence:
        presence.here(phone.guest, None)
        await listed(phone)
        sql.execute(
            "INSERT INTO presences (owner, connection, process, device_id, since, seen_at)"
            " VALUES ('user:ada', gen_random_uuid(), %s, 'tablet', now(), now())",
            [presence._process],
        )
        sql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'syncserver listener' AND datname = current_database()"
        )
        await listed(phone, "tablet")


async def test_a_device_that_changes_its_state_all_the_time_is_written_ten_times_a_second(running: Running):
    """Each write is told; five of them after the first cannot come in less than five pauses."""
    phone, tablet = Socket(), Socket(name="tablet")
    async with running() as presence:
        presence.here(tablet.guest, None)
        await listed(tablet)
        changing = asyncio.create_task(_change_always(presence, phone))
        await listed(tablet, "phone")
        began = asyncio.get_running_loop().time()
        for _ in range(6):
            await listed(tablet, "phone")
        assert asyncio.get_running_loop().time() - began > 0.4
        changing.cancel()


async def _change_always(presence: Presence, socket: Socket) -> None:
    for page in count():
        presence.here(socket.guest, {"page": page})
        await asyncio.sleep(0)


async def test_an_outage_is_waited_out_and_nothing_of_what_was_said_meanwhile_is_lost(
    server: Database, sql: psycopg.Connection, caplog: pytest.LogCaptureFixture
):
    phone, gone = Socket(), Socket(name="gone")
    lane = Lane(server, width=1)
    presence = Presence(lane, lambda: NOW, presence_s=0.6)
    presence._known.set()  # it has shown a sign before
    sql.execute("INSERT INTO processes VALUES (%s, now())", [presence._process])
    task = asyncio.create_task(presence.run())
    async with asyncio.timeout(20):
        async with lane.transaction([]):  # while this is open, its write is under way
            presence.here(gone.guest, None)
            presence.here(phone.guest, {"page": 1})
            while not presence._written:  # noqa: ASYNC110 - nobody is told of what could not be written
                await asyncio.sleep(0.01)
            presence.left(gone.guest)
            presence.here(phone.guest, {"page": 2})
            lane._database = Database("postgresql://127.0.0.1:1/none")
        while not caplog.records:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        lane._database = server
        while presence._unwritten or presence._written != {("user:ada", phone.guest.id)}:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(caplog.records) == 1
    assert rows(sql) == [("phone", '{"page":2}')]


async def test_what_a_run_that_failed_has_lost_the_next_one_writes(server: Database, sql: psycopg.Connection):
    """A fault that nobody foresaw (here: the table is away) ends a run; whoever keeps it running begins it again."""
    gone, phone = Socket(name="gone"), Socket()
    presence = Presence(Lane(server), lambda: NOW)
    presence.here(gone.guest, None)
    async with asyncio.timeout(20):
        failing = asyncio.create_task(presence.run())
        while not rows(sql):  # noqa: ASYNC110 - without doorbells nobody is told
            await asyncio.sleep(0.01)
        sql.execute("ALTER TABLE presences RENAME TO away")
        presence.left(gone.guest)
        presence.here(phone.guest, None)
        with pytest.raises(ExceptionGroup):
            await failing
        sql.execute("ALTER TABLE away RENAME TO presences")
        again = asyncio.create_task(presence.run())
        while rows(sql) != [("phone", None)]:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


async def test_closing_without_a_database_ends_in_time():
    presence = Presence(Lane(Database("postgresql://127.0.0.1:1/none")), lambda: NOW)
    presence._written = {("user:ada", Socket().guest.id)}
    async with asyncio.timeout(20):
        await presence.close(0.1)
