"""The engine over a real database, with a clock that the test sets."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from syncserver.engine.pull import Pull
from syncserver.engine.push import Push
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


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
