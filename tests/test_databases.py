"""What a test finds in a database that others had before it: nothing of theirs."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from syncserver.storage import embedded
from tests import databases
from tests.harness import Urls

UNHEARD_OF = """
CREATE TABLE kinds (name text PRIMARY KEY);
INSERT INTO kinds VALUES ('tab\t and \\ and a line\n'), ('book');
CREATE TABLE "Some Things" (
    id serial PRIMARY KEY, kind text REFERENCES kinds, twice int GENERATED ALWAYS AS (id * 2) STORED
);
CREATE SCHEMA aside;
CREATE TABLE aside.logged (id bigint GENERATED ALWAYS AS IDENTITY, said text);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stays'; END $$;
CREATE TRIGGER refuse BEFORE DELETE OR TRUNCATE ON aside.logged EXECUTE FUNCTION refuse();
INSERT INTO "Some Things" (kind) VALUES ('book');
SELECT nextval('notes_id_seq');
"""
"""What migrations may bring one day, and nobody told the tests of."""

WRITTEN = """
INSERT INTO "Some Things" (kind) VALUES ('book');
INSERT INTO aside.logged (said) VALUES ('hello');
INSERT INTO kinds VALUES ('song');
DELETE FROM kinds WHERE name <> 'book' AND name <> 'song';
INSERT INTO reading_progress (owner, publication_id, updated_at, device_id) VALUES ('user:ada', 'emma', now(), 'phone');
UPDATE epoch SET id = 'another';
DELETE FROM alembic_version;
SELECT nextval('notes_id_seq');
"""

ROWS = """
SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'S') AND relnamespace NOT IN
    ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace)
"""
_TRIES = 5
"""Autovacuum may come in between, and a database in which it did something is not handed on."""

JSON = "SELECT (to_jsonb(t) - 'log_cnt')::text"  # log_cnt: how far the log of writes is ahead of a sequence


@pytest.fixture(scope="module")
def kept(postgres: embedded.EmbeddedPostgres) -> Iterator[databases.Databases]:
    """Databases that only these tests take, with tables that nobody knows."""
    with psycopg.connect(postgres.owner_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE template_more TEMPLATE template_migrated")
        with psycopg.connect(databases.named(postgres.owner_url, "template_more")) as more:
            more.execute(UNHEARD_OF)
        made = databases.Databases(postgres, "template_more")
        yield made
        made.close()
        connection.execute("DROP DATABASE template_more WITH (FORCE)")


@contextmanager
def at_psql(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.owner, autocommit=True) as sql:
        yield sql


def number(urls: Urls) -> object:
    """A database keeps it for as long as it exists, whatever its name."""
    with at_psql(urls) as sql:
        return sql.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone()


def seen(urls: Urls) -> dict[str, object]:
    """All rows of every table and the place of every sequence."""
    with at_psql(urls) as sql:
        return {
            name: sql.execute(f"{JSON} FROM (SELECT * FROM {name}) AS t ORDER BY 1".encode()).fetchall()
            for (name,) in sql.execute(ROWS).fetchall()
        }


def used(kept: databases.Databases, *statements: str) -> Urls:
    """A database that a test had which did this."""
    urls = kept.take()
    with at_psql(urls) as sql:
        for statement in statements:
            sql.execute(statement.format(name=sql.info.dbname).encode())
    kept.give_back(urls)
    return urls


def test_every_row_and_every_sequence_is_as_it_was_at_first(kept: databases.Databases):
    urls = kept.take()
    first, made = seen(urls), number(urls)
    for _ in range(3):
        with at_psql(urls) as sql:
            sql.execute(WRITTEN)
        changed = {name for name, rows in seen(urls).items() if rows != first[name]}
        written = {"kinds", '"Some Things"', "aside.logged", "reading_progress", "changes", "channels", "epoch"}
        assert written | {"alembic_version", "notes_id_seq", "aside.logged_id_seq"} <= changed
        kept.give_back(urls)
        urls = kept.take()
        assert seen(urls) == first
        assert number(urls) == made
    kept.give_back(urls)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE left_behind (id int)",
        "CREATE TEMPORARY TABLE passing (id int)",
        "DROP TABLE notes",
        "ALTER TABLE changes DROP CONSTRAINT changes_owner_offset_key",
        "ALTER TABLE reading_progress DISABLE TRIGGER sync_capture",
        "ALTER TABLE reading_progress NO FORCE ROW LEVEL SECURITY",
        "DROP TRIGGER sync_capture ON reading_progress",
        "GRANT SELECT ON epoch TO PUBLIC",
        "REVOKE EXECUTE ON FUNCTION pg_catalog.now() FROM PUBLIC",
        "COMMENT ON TABLE epoch IS 'mine'",
        "TRUNCATE notes",
        "ANALYZE reading_progress",
        "VACUUM kinds",
        "SELECT lo_create(0)",
        "UPDATE information_schema.sql_features SET comments = 'mine'",
        "ALTER SEQUENCE notes_id_seq INCREMENT 7",
        "ALTER DATABASE {name} SET default_transaction_read_only = on",
        "ALTER DATABASE {name} CONNECTION LIMIT 3",
        "ALTER ROLE syncserver_server IN DATABASE {name} SET work_mem = '1MB'",
        "INSERT INTO kinds SELECT repeat('long', 100) || n FROM generate_series(1, 1000) AS n",
    ],
)
def test_whoever_changed_more_than_rows_leaves_no_database_behind(kept: databases.Databases, statement: str):
    urls = kept.take()
    first, made = seen(urls), number(urls)
    kept.give_back(urls)
    used(kept, statement)
    urls = kept.take()
    assert seen(urls) == first
    assert number(urls) != made
    kept.give_back(urls)


def test_whoever_wrote_rows_or_nothing_hands_the_database_on(kept: databases.Databases):
    assert any(_handed_on(kept) for _ in range(_TRIES))


def _handed_on(kept: databases.Databases) -> bool:
    urls = kept.take()
    made = number(urls)
    kept.give_back(urls)
    used(kept)
    used(kept, WRITTEN)
    used(kept, "BEGIN; CREATE TABLE never (id int); ROLLBACK")
    urls = kept.take()
    same = number(urls) == made
    kept.give_back(urls)
    return same


def test_whoever_stays_is_sent_away_and_cannot_come_back(kept: databases.Databases):
    assert any(_sent_away(kept) for _ in range(_TRIES))


def _sent_away(kept: databases.Databases) -> bool:
    """Send somebody away; whether the database was handed on."""
    urls = kept.take()
    made = number(urls)
    with psycopg.connect(urls.owner) as staying:
        staying.execute("LOCK TABLE epoch; SELECT pg_advisory_lock(1)")
        kept.give_back(urls)
        with pytest.raises(psycopg.OperationalError):
            staying.execute("SELECT")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(urls.owner)
    following = kept.take()
    assert following != urls
    same = number(following) == made
    kept.give_back(following)
    return same


def test_two_that_are_taken_at_once_are_two(kept: databases.Databases):
    one, other = kept.take(), kept.take()
    assert number(one) != number(other)
    kept.give_back(one)
    kept.give_back(other)
