"""A real PostgreSQL for the whole run, a database of its own for each test, and servers on real sockets."""

import asyncio
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import psycopg
import pytest

from syncserver import resources
from syncserver.app import server as app_server
from syncserver.app import wiring
from syncserver.app.settings import Settings
from syncserver.storage import embedded, schema
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog
from tests import logs
from tests.harness import SECRET, Live, Program, Serving, Urls

_databases = count(1)


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
    """`syncserver serve` as a process of its own, not started yet; ended with the test."""
    found = Program(folder)
    yield found
    found.end()


@pytest.fixture(scope="session")
def postgres() -> Iterator[embedded.EmbeddedPostgres]:
    """The PostgreSQL that comes along (or the one in SYNCSERVER_TEST_POSTGRES_BIN), with a migrated template."""
    folder = Path(tempfile.mkdtemp(prefix="syncserver-tests-"))
    folder.chmod(0o755)  # as root, the database runs as another user
    named = os.environ.get("SYNCSERVER_TEST_POSTGRES_BIN")
    server = embedded.EmbeddedPostgres(folder, binaries=embedded.find_binaries(Path(named) if named else None))
    server.start()
    try:
        with psycopg.connect(server.owner_url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE template_migrated")
        schema.upgrade(_named(server.owner_url, "template_migrated"))
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _named(url: str, database: str) -> str:
    return url.replace("postgresql:///syncserver?", f"postgresql:///{database}?")


def _created(postgres: embedded.EmbeddedPostgres, template: str) -> Iterator[Urls]:
    name = f"test_{os.getpid()}_{next(_databases)}"
    with psycopg.connect(postgres.owner_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield Urls(_named(postgres.owner_url, name), _named(postgres.server_url, name))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(postgres: embedded.EmbeddedPostgres) -> Iterator[Urls]:
    """A migrated database of the test's own."""
    yield from _created(postgres, "template_migrated")


@pytest.fixture
def empty_database(postgres: embedded.EmbeddedPostgres) -> Iterator[Urls]:
    """A database that was never migrated."""
    yield from _created(postgres, "template0")


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

    @asynccontextmanager
    async def run(**changed: object) -> AsyncIterator[Live]:
        settings = replace(Settings(port=0, sweep_s=0.5, drain_s=1.0), **changed)  # type: ignore[arg-type]
        parts = wiring.Parts(settings, database.server, SECRET)
        started = asyncio.Event()
        with app_server.bound(settings.host, settings.port) as listening:
            server = app_server.Server(wiring.application(parts), settings, started=started.set)
            task = asyncio.create_task(server._serve([listening]))
            waiting = asyncio.create_task(started.wait())
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            port = listening.getsockname()[1]
            try:
                yield Live(parts, f"http://{settings.host}:{port}", port)
            finally:
                server.should_exit = True
                await task

    return run


@pytest.fixture
async def live(serving: Serving) -> AsyncIterator[Live]:
    """A server over the test's database, for the length of the test."""
    async with serving() as server:
        yield server
