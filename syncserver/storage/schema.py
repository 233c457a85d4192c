"""The database's shape: alembic run from code, under a lock, so that two servers starting at once migrate once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from syncserver.storage.database import driver_url

_LOCK = 7_092_601_146
"""Any number that only this uses: the advisory lock of whoever migrates."""


def _folder() -> Path:
    """The migrations: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


class Refused(Exception):
    """The database did not let itself be migrated; says why."""


@contextmanager
def _configured(url: str) -> Iterator[Config]:
    engine = sa.create_engine(
        driver_url(url), poolclass=sa.NullPool, hide_parameters=True, connect_args={"options": "-c timezone=UTC"}
    )
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        try:
            config = Config()
            config.set_main_option("script_location", str(_folder()).replace("%", "%%"))
            config.attributes["connection"] = connection
            yield config
        finally:
            connection.rollback()
            connection.execute(sa.text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
            connection.commit()


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at `url` (its owner's) up to `revision`; raises Refused."""
    try:
        with _configured(url) as config:
            command.upgrade(config, revision)
    except sa.exc.DBAPIError as error:
        raise Refused(str(error.orig).strip().splitlines()[0]) from error


def downgrade(url: str, revision: str) -> None:
    """Bring it down to `revision`; "base" removes everything."""
    with _configured(url) as config:
        command.downgrade(config, revision)


def newest() -> str:
    """The revision that this program's code was written for."""
    config = Config()
    config.set_main_option("script_location", str(_folder()).replace("%", "%%"))
    return str(ScriptDirectory.from_config(config).get_current_head())


def revisions() -> list[str]:
    """All revisions, oldest first."""
    config = Config()
    config.set_main_option("script_location", str(_folder()).replace("%", "%%"))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]


def current(connection: sa.Connection) -> str | None:
    """The revision that the database is at; None when it was never migrated."""
    return MigrationContext.configure(connection).get_current_revision()
