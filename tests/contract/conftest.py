"""One server for the whole battery, in a thread of its own: each test has its own loop, and its own owners."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from queue import Queue

import psycopg
import pytest

from tests.contract.owner import Owner, arrived, claimed
from tests.databases import Databases
from tests.harness import UNLIMITED, Live, Urls
from tests.served import served


@pytest.fixture(scope="session")
def _house(_migrated: Databases) -> Iterator[Urls]:
    urls = _migrated.take()
    yield urls
    _migrated.give_back(urls)


@pytest.fixture(scope="session")
def shared(_house: Urls) -> Iterator[Live]:
    """A server that all tests of the battery have together."""
    told: Queue[tuple[Live, asyncio.AbstractEventLoop, asyncio.Event]] = Queue()

    async def serve() -> None:
        ended = asyncio.Event()
        async with served(_house, **UNLIMITED, rows_per_owner=0) as live:
            told.put((live, asyncio.get_running_loop(), ended))
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    live, loop, ended = told.get(timeout=60)
    yield live
    loop.call_soon_threadsafe(ended.set)
    thread.join()


@pytest.fixture
def by_sql(_house: Urls) -> Iterator[psycopg.Connection]:
    """Somebody at psql."""
    with psycopg.connect(_house.owner, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def ada(shared: Live, resource: str) -> AsyncIterator[Owner]:
    """A signed-in reader who has what rows of the resource belong to."""
    async with _at_home(shared, resource) as owner:
        yield owner


@pytest.fixture
async def eve(shared: Live, resource: str) -> AsyncIterator[Owner]:
    """Somebody else, who has the same."""
    async with _at_home(shared, resource) as owner:
        yield owner


@pytest.fixture
async def visitor(shared: Live, resource: str) -> AsyncIterator[Owner]:
    """Somebody with an anonymous session, who has the same."""
    async with arrived(shared) as owner:
        await owner.settle(resource)
        yield owner


@asynccontextmanager
async def _at_home(live: Live, resource: str) -> AsyncIterator[Owner]:
    async with claimed(live) as owner:
        await owner.settle(resource)
        yield owner
