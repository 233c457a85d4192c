"""A real PostgreSQL for the whole run, a database of its own for each test, and servers on real sockets."""

import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from syncserver import resources
from syncserver.storage import embedded
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog
from tests import databases, logs, prototype
from tests.harness import Live, Program, Serving, Urls
from tests.served import served

_MEMORY = Path("/dev/shm")  # noqa: S108 - folders in it get names of their own
_ENOUGH_BYTES = 4 << 30


def _in_memory() -> bool:
    """Whether folders of tests can be kept in memory: there is room, and programs may be run from there."""
    if not _MEMORY.is_dir() or not os.access(_MEMORY, os.W_OK) or "TMPDIR" in os.environ:
        return False
    found = os.statvfs(_MEMORY)
    return found.f_bavail * found.f_frsize >= _ENOUGH_BYTES and not found.f_flag & os.ST_NOEXEC


if _in_memory():  # a killed process loses nothing there either; what only a power cut would lose, no test can see
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long ones first: given out one by one, they end before the many short ones do."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session", autouse=True)
def _nothing_leaks() -> Iterator[None]:
    """All that servers log in this run (in this worker's part of it) is kept; the run fails where it shows a secret."""
    with logs.kept():
        yield
        if found := logs.leaks():
            pytest.fail(logs.complaint(found), pytrace=False)


@pytest.fixture(autouse=True)
def _all_is_logged() -> None:
    """Whatever a test before this one set."""
    logging.getLogger("syncserver").setLevel(logging.DEBUG)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder of the test's own that any user may enter: as root, the database runs as another user."""
    path = Path(tempfile.mkdtemp(prefix="syncserver-tests-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def program(folder: Path) -> Iterator[Program]:
    """`syncserver serve` as a process of its own, not started yet, as if it had been before; ended with the test."""
    prototype.lay(folder)
    found = Program(folder)
    yield found
    found.end()


@pytest.fixture(scope="session")
def postgres() -> Iterator[embedded.EmbeddedPostgres]:
    """The PostgreSQL that comes along (or the one in SYNCSERVER_TEST_POSTGRES_BIN), with a migrated template."""
    folder = Path(tempfile.mkdtemp(prefix="syncserver-tests-"))
    folder.chmod(0o755)  # as root, the database runs as another user
    prototype.lay(folder)
    server = embedded.EmbeddedPostgres(folder, binaries=prototype.binaries())
    server.start()
    try:
        with psycopg.connect(server.owner_url.replace("///syncserver", "///postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE template_migrated TEMPLATE syncserver STRATEGY file_copy")
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _migrated(postgres: embedded.EmbeddedPostgres) -> Iterator[databases.Databases]:
    yield from _kept(postgres, "template_migrated")


@pytest.fixture(scope="session")
def _empty(postgres: embedded.EmbeddedPostgres) -> Iterator[databases.Databases]:
    yield from _kept(postgres, "template0")


def _kept(postgres: embedded.EmbeddedPostgres, template: str) -> Iterator[databases.Databases]:
    kept = databases.Databases(postgres, template)
    yield kept
    kept.close()


def _taken(kept: databases.Databases) -> Iterator[Urls]:
    urls = kept.take()
    yield urls
    kept.give_back(urls)


@pytest.fixture
def database(_migrated: databases.Databases) -> Iterator[Urls]:
    """A migrated database of the test's own."""
    yield from _taken(_migrated)


@pytest.fixture
def empty_database(_empty: databases.Databases) -> Iterator[Urls]:
    """A database that was never migrated."""
    yield from _taken(_empty)


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
    """The server's pool, as the server's role."""
    pool = Database(database.server)
    yield pool
    await pool.close()


@pytest.fixture
def serving(database: Urls) -> Serving:
    """Runs a server over the database for as long as it is entered; settings may be changed by name."""
    return partial(served, database)


@pytest.fixture
async def live(serving: Serving) -> AsyncIterator[Live]:
    """A server over the test's database, for the length of the test."""
    async with serving() as server:
        yield server
