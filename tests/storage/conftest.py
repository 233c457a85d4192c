"""Who speaks to the test's database: somebody at psql, the server, and roles made for one test."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count

import psycopg
import pytest

from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog, Resource
from tests.harness import Urls

_roles = count(1)


@pytest.fixture
def progress(catalog: Catalog) -> Resource:
    return catalog["progress"]


@pytest.fixture
async def pooled(database: Urls) -> AsyncIterator[Callable[..., Database]]:
    """How a test makes a pool with settings of its own: `pooled(connections=1)`; closed with the test."""
    pools: list[Database] = []

    def make(url: str = database.server, **settings: float) -> Database:
        pools.append(Database(url, **settings))  # type: ignore[arg-type]
        return pools[-1]

    yield make
    for pool in pools:
        await pool.close()


Role = Callable[[str, str], AbstractContextManager[str]]


@pytest.fixture
def role() -> Role:
    """Makes a role with these options for as long as the block lasts, and gives its URL."""
    return _role


@contextmanager
def _role(owner_url: str, options: str) -> Iterator[str]:
    with psycopg.connect(owner_url, autocommit=True) as connection:
        name = f"role_{connection.info.dbname}_{next(_roles)}"
        connection.execute(f"CREATE ROLE {name} {options}".encode())
        try:
            yield owner_url.replace("user=syncserver", f"user={name}")
        finally:
            connection.execute(f"REASSIGN OWNED BY {name} TO syncserver".encode())
            connection.execute(f"DROP OWNED BY {name}".encode())
            connection.execute(f"DROP ROLE {name}".encode())
