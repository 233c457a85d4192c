"""The engine over a real database, with a clock that the test sets."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from syncserver import resources
from syncserver.engine.pull import Pull
from syncserver.engine.push import Push
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog
from tests.harness import Urls

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def catalog() -> Catalog:
    return resources.catalog()


@pytest.fixture
def sql(database: Urls) -> Iterator[psycopg.Connection]:
    """Somebody at psql, as the database's owner: each statement is committed at once."""
    with psycopg.connect(database.owner, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def server(database: Urls) -> AsyncIterator[Database]:
    pool = Database(database.server)
    yield pool
    await pool.close()


@pytest.fixture
async def push(server: Database, catalog: Catalog) -> AsyncIterator[Push]:
    """The write door, at work. Its clock stands at noon of the first of March."""
    door = Push(server, catalog, lambda: NOW)
    task = asyncio.create_task(door.run())
    yield door
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def pull(server: Database, catalog: Catalog) -> Pull:
    return Pull(server, catalog)
