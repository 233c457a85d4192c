"""Which database: the one that the operator names, or the one that comes along in the data folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from syncserver import resources
from syncserver.app.settings import Settings
from syncserver.core.errors import SetupError
from syncserver.engine.push import WRITERS
from syncserver.storage import checks, embedded, schema
from syncserver.storage.database import READERS


@dataclass(frozen=True, slots=True)
class Urls:
    """A database as its owner and as the server; `psql` is the program to talk to it, where it comes along."""

    owner: str
    server: str
    psql: Path | None = None


@contextmanager
def opened(settings: Settings) -> Iterator[Urls]:
    """The database for as long as this is open. One that comes along is started, and migrated when it is behind."""
    if settings.database_url:
        yield Urls(settings.owner_url or settings.database_url, settings.database_url)
        return
    try:
        binaries = embedded.find_binaries(settings.postgres_bin)
        postgres = embedded.EmbeddedPostgres(settings.data_dir, binaries=binaries)
        postgres.start()
    except embedded.EmbeddedError as error:
        raise SetupError(
            str(error), "Mend that, or name a PostgreSQL of your own with SYNCSERVER_DATABASE_URL."
        ) from None
    try:
        schema.upgrade(postgres.owner_url)
        yield Urls(postgres.owner_url, postgres.server_url, postgres.psql)
    finally:
        postgres.stop()


def connections(settings: Settings) -> int:
    """How many the server may have open at once: in each worker its pool, one that listens, those of the doors."""
    return settings.workers * (settings.database_connections + 1 + WRITERS + READERS)


@contextmanager
def ready(settings: Settings) -> Iterator[Urls]:
    """The same, with everything true that the server needs; raises SetupError."""
    with opened(settings) as urls:
        checks.require(urls.server, resources.catalog(), connections(settings))
        yield urls
