import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from syncserver.feed.listener import CHANNEL, Listener
from syncserver.storage import notes
from tests.harness import Urls

END = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'syncserver listener' AND datname = current_database()
"""
WRITE = """
    INSERT INTO reading_progress (owner, publication_id, updated_at) VALUES (%s, 'moby-dick', now())
    ON CONFLICT (owner, publication_id) DO UPDATE SET updated_at = now()
"""


class Ears:
    def __init__(self, url: str) -> None:
        self.rung: asyncio.Queue[str] = asyncio.Queue()
        self.standing = asyncio.Semaphore(0)
        self.noted: asyncio.Queue[str] = asyncio.Queue()
        rings = {CHANNEL: self.rung.put_nowait, notes.CHANNEL: self.noted.put_nowait}
        self.listener = Listener(url, rings=rings, listening=self.standing.release)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.listener.run())
        try:
            async with asyncio.timeout(30):
                await self.standing.acquire()
                yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def write(url: str, statement: str, *values: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(statement, values)


async def test_a_write_of_any_writer_rings_with_its_owner(database: Urls):
    ears = Ears(database.server)
    async with ears.listening():
        for owner in ("user:ada", "user:eve", "user:ada"):
            await write(database.owner, WRITE, owner)
            assert await ears.rung.get() == owner


async def test_doorbells_of_each_channel_are_told_apart(database: Urls):
    ears = Ears(database.server)
    async with ears.listening():
        for owner in ("user:ada", "user:eve"):
            await write(
                database.owner, "SELECT pg_notify('syncserver_notes', %s), pg_notify('others', '')", f"7 {owner}"
            )
            await write(database.owner, WRITE, owner)
        assert [await ears.noted.get(), await ears.noted.get()] == ["7 user:ada", "7 user:eve"]
        assert [await ears.rung.get(), await ears.rung.get()] == ["user:ada", "user:eve"]
    async with await ears.listener._connected() as connection:
        await write(database.owner, "SELECT pg_notify('syncserver_notes', '8 user:ada')")
        await ears.listener._ask(connection)
        assert ears.noted.get_nowait() == "8 user:ada"


async def test_doorbells_come_in_order_and_each_is_heard(database: Urls):
    ears = Ears(database.server)
    owners = [f"user:{n}" for n in range(200)]
    async with ears.listening():
        async with await psycopg.AsyncConnection.connect(database.owner, autocommit=True) as connection:
            for owner in owners:
                await connection.execute("SELECT pg_notify('syncserver', %s)", [owner])
        assert [await ears.rung.get() for _ in owners] == owners


async def test_a_doorbell_that_comes_while_it_asks_whether_the_database_is_there_is_heard_too(database: Urls):
    ears = Ears(database.server)
    async with await ears.listener._connected() as connection:
        await write(database.owner, "SELECT pg_notify('syncserver', 'user:ada')")
        await ears.listener._ask(connection)
        assert ears.rung.get_nowait() == "user:ada"


async def test_after_its_connection_was_ended_it_listens_again_and_says_so_each_time(database: Urls):
    ears = Ears(database.server)
    async with ears.listening():
        for _ in range(2):
            await write(database.owner, END)
            await ears.standing.acquire()
            await write(database.owner, WRITE, "user:ada")
            assert await ears.rung.get() == "user:ada"


async def test_a_line_that_ended_is_let_go_of_at_once(database: Urls):
    """Libpq has closed its file: whoever is accepted next gets that number."""
    ears, watched = Ears(database.server), list[bool]()
    selector: Any = asyncio.get_running_loop()._selector  # type: ignore[attr-defined] # as asyncio has it
    readable = ears.listener._readable

    def noted(connection: psycopg.AsyncConnection, socket: int, ended: asyncio.Future[None]) -> None:
        readable(connection, socket, ended)
        watched.append(socket in selector.get_map())

    ears.listener._readable = noted  # type: ignore[method-assign]
    async with await ears.listener._connected() as connection:
        hearing = asyncio.create_task(ears.listener._hear(connection))
        await asyncio.sleep(0)
        await write(database.owner, END)
        with pytest.raises(psycopg.OperationalError):
            await hearing
    assert watched[-1] is False


async def test_without_a_database_it_keeps_trying(caplog: pytest.LogCaptureFixture):
    tried = asyncio.Semaphore(0)

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert "connecting again" in record.getMessage()
            tried.release()

    heard = Heard()
    logging.getLogger(Listener.__module__).addHandler(heard)
    ears = Ears("postgresql://127.0.0.1:1/none")
    task = asyncio.create_task(ears.listener.run())
    async with asyncio.timeout(30):
        for _ in range(2):
            await tried.acquire()
    logging.getLogger(Listener.__module__).removeHandler(heard)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ears.standing.locked()
    assert "127.0.0.1" not in caplog.text
