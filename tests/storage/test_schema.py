"""Migrations: up, down and up again, by two at once, by roles that may and roles that may not."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from syncserver.storage import schema
from syncserver.storage.database import Database, driver_url
from tests.harness import Urls

REPOSITORY = Path(__file__).parents[2]

CATALOGUE = """
SELECT 'relation', relkind::text || ' ' || relname, relrowsecurity::text || relforcerowsecurity::text || coalesce(relacl::text, '')
  FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT 'column', attrelid::regclass::text || '.' || attname,
    format_type(atttypid, atttypmod) || attnotnull::text || coalesce(pg_get_expr(adbin, adrelid), '')
  FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
  WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT 'constraint', conrelid::regclass::text || '.' || conname, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid)
  FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT 'function', oid::regprocedure::text, pg_get_functiondef(oid) || coalesce(proacl::text, '')
  FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'policy', polrelid::regclass::text || '.' || polname, polcmd::text
  FROM pg_policy
UNION ALL SELECT 'trigger', tgrelid::regclass::text || '.' || tgname, pg_get_triggerdef(oid)
  FROM pg_trigger WHERE NOT tgisinternal
ORDER BY 1, 2
"""  # noqa: E501 - one line a kind of thing


def catalogue(url: str) -> set[tuple[str, str, str]]:
    with psycopg.connect(url) as connection:
        return {(kind, name, str(shape)) for kind, name, shape in connection.execute(CATALOGUE)}


def at(url: str) -> str | None:
    engine = sa.create_engine(driver_url(url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        return schema.current(connection)


def test_every_revision_goes_up_down_and_up_again_and_leaves_nothing_behind(empty_database: Urls):
    url = empty_database.owner
    before = catalogue(url)
    for revision in schema.revisions():
        schema.upgrade(url, revision)
        above = catalogue(url)
        schema.downgrade(url, "-1")
        below = {thing for thing in catalogue(url) if "alembic_version" not in thing[1]}
        assert below == {thing for thing in before if "alembic_version" not in thing[1]}, revision
        schema.upgrade(url, revision)
        assert catalogue(url) == above, revision
        before = above
    assert at(url) == schema.newest()


def test_all_the_way_down_leaves_only_the_note_of_where_it_is(empty_database: Urls):
    url = empty_database.owner
    schema.upgrade(url)
    whole = catalogue(url)
    schema.downgrade(url, "base")
    assert [name for _, name, _ in catalogue(url) if "alembic_version" not in name] == []
    assert at(url) is None
    schema.upgrade(url)
    assert catalogue(url) == whole


def test_a_downgrade_with_rows_in_every_table_works(database: Urls):
    with psycopg.connect(database.owner) as connection:
        connection.execute("INSERT INTO reading_progress (owner, publication_id) VALUES ('user:ada', 'moby')")
    schema.downgrade(database.owner, "base")
    schema.upgrade(database.owner)
    assert at(database.owner) == schema.newest()


def test_migrating_what_is_already_there_changes_nothing(database: Urls):
    before = catalogue(database.owner)
    schema.upgrade(database.owner)
    assert catalogue(database.owner) == before


def _start_migrating(url: str) -> subprocess.Popen[bytes]:
    program = "import sys; from syncserver.storage import schema; schema.upgrade(sys.argv[1])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", program, url], env=environment)


def _wait_for_waiters(connection: psycopg.Connection, wanted: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        row = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone()
        if row == (wanted,):
            return
        select.select([], [], [], 0.02)
    raise TimeoutError


def test_two_processes_that_migrate_at_once_migrate_once(empty_database: Urls):
    with psycopg.connect(empty_database.owner, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [schema._LOCK])
        processes = [_start_migrating(empty_database.owner) for _ in range(2)]
        _wait_for_waiters(connection, 2)
        connection.execute("SELECT pg_advisory_unlock(%s)", [schema._LOCK])
        assert [process.wait(60) for process in processes] == [0, 0]
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(schema.newest(),)]


async def test_an_owner_that_is_no_superuser_can_migrate_and_the_server_can_write(empty_database: Urls, role):
    name = empty_database.owner.partition("///")[2].partition("?")[0]
    with role(empty_database.owner, "LOGIN CREATEROLE") as url:
        with psycopg.connect(empty_database.owner, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} OWNER TO {url.rpartition('user=')[2]}".encode())
        schema.upgrade(url)
        server = Database(empty_database.server)
        async with server.transaction(["user:ada"]) as connection:
            await connection.execute(
                sa.text(
                    "INSERT INTO reading_progress (owner, publication_id, updated_at) SELECT 'user:ada', 'moby', now()"
                )
            )
            await connection.execute(sa.text("UPDATE reading_progress SET percentage = 0.5, updated_at = now()"))
            await connection.execute(sa.text("DELETE FROM reading_progress"))
            await connection.execute(
                sa.text("SELECT sync_removed_v3('user:ada', 'progress', 'moby', now(), 'phone'), sync_epoch_v1()")
            )
            found = await connection.execute(sa.text('SELECT owner, key, "offset", op, device_id FROM changes'))
            assert [tuple(row) for row in found] == [("user:ada", "moby", 4, "remove", "phone")]
        await server.close()
        schema.downgrade(url, "base")
        schema.upgrade(url)


def test_a_role_that_may_not_create_tables_is_refused_with_a_sentence(empty_database: Urls, role):
    with role(empty_database.owner, "LOGIN") as url, pytest.raises(schema.Refused, match="permission denied"):
        schema.upgrade(url)
    assert at(empty_database.owner) is None


def test_a_database_that_is_away_refuses_to_be_migrated_with_a_sentence(tmp_path: Path):
    away = f"postgresql:///nothing?host={tmp_path}&user=syncserver"
    with pytest.raises(schema.Refused, match="connection"):
        schema.upgrade(away)


def test_a_failing_migration_leaves_the_revision_before_it(empty_database: Urls):
    schema.upgrade(empty_database.owner, "0001")
    with psycopg.connect(empty_database.owner) as connection:
        connection.execute("CREATE TABLE reading_progress (in_the_way int)")
    before = catalogue(empty_database.owner)
    with pytest.raises(schema.Refused, match="already exists"):
        schema.upgrade(empty_database.owner)
    assert (at(empty_database.owner), catalogue(empty_database.owner)) == ("0001", before)


def test_revisions_are_told_oldest_first_and_the_newest_is_the_last():
    assert schema.revisions()[0] == "0001"
    assert schema.revisions()[-1] == schema.newest()
