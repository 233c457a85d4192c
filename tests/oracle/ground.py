"""What a run stands on: a real PostgreSQL, migrated, with a second resource and a log of every offset ever taken.

The second resource has numbers for keys and a column that is not synced; with it, filters and ignored columns have
something to leave out. The log of offsets only grows, which `changes` does not: gaps would show there.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import sqlalchemy as sa

from syncserver import resources
from syncserver.core import values
from syncserver.storage import embedded, schema
from syncserver.storage.resource import Catalog, Resource
from tests.harness import Urls


class Note(values.Model):
    """What a client writes of a note."""

    body: str | None = None


_notes = sa.Table(
    "oracle_notes",
    sa.MetaData(),
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("body", sa.Text),
    sa.Column("device_id", sa.Text),
    sa.Column("device_name", sa.Text),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
)

CATALOG = Catalog([resources.catalog()["progress"], Resource("notes", _notes, "number", Note)])

_SHAPE = """
CREATE TABLE oracle_notes (
  owner text NOT NULL, number bigint NOT NULL, body text, seen_at timestamptz,
  device_id text, device_name text, updated_at timestamptz NOT NULL,
  PRIMARY KEY (owner, number)
);
SELECT sync_track_v4('oracle_notes', 'notes', 'number', '{seen_at}');
SELECT sync_isolate_v1('oracle_notes');
GRANT SELECT, INSERT, UPDATE, DELETE ON oracle_notes TO syncserver_app;

CREATE TABLE oracle_taken (owner text NOT NULL, "offset" bigint NOT NULL);
CREATE FUNCTION oracle_take() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  INSERT INTO oracle_taken VALUES (new.owner, new."offset");
  RETURN NULL;
END $$;
CREATE TRIGGER oracle_first AFTER INSERT ON changes FOR EACH ROW EXECUTE FUNCTION oracle_take();
CREATE TRIGGER oracle_next AFTER UPDATE ON changes FOR EACH ROW
  WHEN (new."offset" <> old."offset") EXECUTE FUNCTION oracle_take();
"""
_PATIENCE = (
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''10ms''', current_database()); END $$"
)
_EXPIRES = "SELECT to_regprocedure('sync_expire_v1(text, timestamptz)') IS NOT NULL"
_GAPS = """
SELECT c.owner, c.head, count(t."offset"), count(DISTINCT t."offset"), min(t."offset"), max(t."offset")
FROM channels c LEFT JOIN oracle_taken t ON t.owner = c.owner
GROUP BY c.owner, c.head
HAVING (count(t."offset"), count(DISTINCT t."offset"), coalesce(min(t."offset"), 1), coalesce(max(t."offset"), 0))
  <> (c.head, c.head, 1, c.head)
"""


@contextmanager
def postgres() -> Iterator[Urls]:
    """A migrated database on a PostgreSQL of the run's own (SYNCSERVER_TEST_POSTGRES_BIN may name its programs)."""
    folder = Path(tempfile.mkdtemp(prefix="syncserver-oracle-"))
    folder.chmod(0o755)  # as root, the database runs as another user
    named = os.environ.get("SYNCSERVER_TEST_POSTGRES_BIN")
    server = embedded.EmbeddedPostgres(folder, binaries=embedded.find_binaries(Path(named) if named else None))
    try:
        server.start()
        schema.upgrade(server.owner_url)
        yield Urls(server.owner_url, server.server_url)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def prepare(owner_url: str, alter: str) -> bool:
    """Bring the run's own tables to a migrated database, then `alter` it; whether its tombstones can expire."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        for sql in (_SHAPE, _PATIENCE, alter):
            connection.execute(sql.encode())
        found = connection.execute(_EXPIRES).fetchone()
    return bool(found and found[0])


def gaps(owner_url: str) -> list[str]:
    """Owners whose offsets were not taken each once, from 1 to the head; a line on each."""
    with psycopg.connect(owner_url) as connection:
        found = connection.execute(_GAPS).fetchall()
    return [
        f"{owner}: head {head}, but {taken} offsets were taken ({different} different, from {least} to {most})"
        for owner, head, taken, different, least, most in found
    ]
