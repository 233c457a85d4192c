"""The server's role sees and writes the rows of the owners that its transaction names, and of nobody else."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors

from syncserver.storage.database import Database
from tests.harness import Urls

ADA, BEN = "user:ada", "user:ben"
NEW_ID = "0198c0de-0000-7000-8000-000000000001"
OWNED = ["channels", "changes", "conflicts", "mutations", "reading_progress"]
WRITTEN = ["conflicts", "mutations", "reading_progress"]

FILL = """
INSERT INTO reading_progress (owner, publication_id, percentage) VALUES (%(owner)s, 'moby', 0.5);
INSERT INTO conflicts (owner, id, resource, key, policy, reason, winner, loser)
  VALUES (%(owner)s, gen_random_uuid(), 'progress', 'moby', 'last-write-wins', 'updated_at', '{}', '{}');
INSERT INTO mutations (owner, client_id, mutation_id, "offset", ack)
  VALUES (%(owner)s, 'client', gen_random_uuid(), 1, '{}')
"""

INSERTS = {
    "reading_progress": "INSERT INTO reading_progress (owner, publication_id, updated_at) VALUES (%s, 'new', now())",
    "conflicts": f"INSERT INTO conflicts VALUES (%s, '{NEW_ID}', 'progress', 'k', 'p', 'r', '{{}}', '{{}}')",
    "mutations": f"INSERT INTO mutations VALUES (%s, 'c', '{NEW_ID}', NULL, '{{}}')",
}


@pytest.fixture
def filled(sql: psycopg.Connection) -> psycopg.Connection:
    for owner in (ADA, BEN):
        with psycopg.ClientCursor(sql) as cursor:
            cursor.execute(FILL.encode(), {"owner": owner})
    return sql


@pytest.fixture
def role_of_server(database: Urls, filled: psycopg.Connection) -> Iterator[psycopg.Connection]:  # noqa: ARG001 - its rows
    """The server's role, in a transaction that names nobody yet."""
    with psycopg.connect(database.server) as connection:
        yield connection
        connection.rollback()


def as_owners(connection: psycopg.Connection, *owners: str) -> psycopg.Connection:
    connection.execute("SELECT set_config('syncserver.owners', %s::text[]::text, true)", [list(owners)])
    return connection


def owners_in(connection: psycopg.Connection, table: str) -> list[tuple[Any, ...]]:
    return connection.execute(f"SELECT DISTINCT owner FROM {table} ORDER BY 1".encode()).fetchall()


def test_without_an_owner_named_every_table_is_empty(role_of_server):
    for table in OWNED:
        assert owners_in(role_of_server, table) == [], table


def test_with_no_owners_named_on_purpose_every_table_is_empty(role_of_server):
    for table in OWNED:
        assert owners_in(as_owners(role_of_server), table) == [], table


@pytest.mark.parametrize("table", WRITTEN)
def test_without_an_owner_named_nothing_can_be_written(role_of_server, table):
    assert role_of_server.execute(f"DELETE FROM {table}".encode()).rowcount == 0
    assert role_of_server.execute(f"UPDATE {table} SET owner = owner".encode()).rowcount == 0
    with pytest.raises(errors.InsufficientPrivilege):
        role_of_server.execute(INSERTS[table].encode(), [ADA])


def test_one_owner_named_shows_the_rows_of_that_one(role_of_server):
    for table in OWNED:
        assert owners_in(as_owners(role_of_server, ADA), table) == [(ADA,)], table


def test_two_owners_named_show_the_rows_of_both(role_of_server):
    for table in OWNED:
        assert owners_in(as_owners(role_of_server, ADA, BEN), table) == [(ADA,), (BEN,)], table


def test_the_names_are_gone_with_the_transaction(role_of_server):
    as_owners(role_of_server, ADA)
    role_of_server.commit()
    for table in OWNED:
        assert owners_in(role_of_server, table) == [], table


@pytest.mark.parametrize("table", WRITTEN)
def test_the_rows_of_another_owner_can_neither_be_changed_nor_removed(role_of_server, filled, table):
    connection = as_owners(role_of_server, ADA)
    assert connection.execute(f"UPDATE {table} SET owner = owner WHERE owner = %s".encode(), [BEN]).rowcount == 0
    assert connection.execute(f"DELETE FROM {table} WHERE owner = %s".encode(), [BEN]).rowcount == 0
    assert connection.execute(f"DELETE FROM {table}".encode()).rowcount == 1
    connection.commit()
    assert owners_in(filled, table) == [(BEN,)]


@pytest.mark.parametrize("table", WRITTEN)
def test_a_row_can_neither_be_made_for_another_owner_nor_given_to_one(role_of_server, table):
    connection = as_owners(role_of_server, ADA)
    with pytest.raises(errors.InsufficientPrivilege, match="row-level security"), connection.transaction():
        connection.execute(INSERTS[table].encode(), [BEN])
    with pytest.raises(errors.InsufficientPrivilege, match="row-level security"), connection.transaction():
        connection.execute(f"UPDATE {table} SET owner = %s".encode(), [BEN])
    connection.execute(INSERTS[table].encode(), [ADA])


def test_an_upsert_over_the_row_of_another_owner_is_refused(role_of_server, filled):
    connection = as_owners(role_of_server, ADA)
    with pytest.raises(errors.InsufficientPrivilege):
        connection.execute(
            "INSERT INTO reading_progress (owner, publication_id, updated_at) VALUES (%s, 'moby', now())"
            " ON CONFLICT (owner, publication_id) DO UPDATE SET percentage = 0.9",
            [BEN],
        )
    connection.rollback()
    assert filled.execute("SELECT DISTINCT percentage FROM reading_progress").fetchall() == [(0.5,)]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO channels (owner) VALUES ('user:ada2')",
        "UPDATE channels SET head = head + 1",
        "DELETE FROM channels",
        "INSERT INTO changes SELECT owner, resource, 'forged', 99, op, updated_at, device_id FROM changes",
        "UPDATE changes SET op = 'remove'",
        "DELETE FROM changes",
        "TRUNCATE channels, changes",
        "INSERT INTO epoch (id, system_identifier, timeline) VALUES ('x', 'y', 1)",
        "UPDATE epoch SET id = 'x'",
        "DELETE FROM epoch",
        "UPDATE alembic_version SET version_num = '0001'",
        "TRUNCATE reading_progress",
    ],
)
def test_the_log_cannot_be_written_but_by_its_triggers(role_of_server, statement):
    with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
        as_owners(role_of_server, ADA).execute(statement.encode())


@pytest.mark.parametrize(
    "call",
    [
        "sync_record_v3('user:ada', 'progress', 'forged', 'put', now(), NULL)",
        "sync_track_v4('reading_progress', 'again', 'publication_id')",
        "sync_untrack_v4('reading_progress', 'progress')",
        "sync_isolate_v1('reading_progress')",
    ],
)
def test_what_makes_and_writes_the_log_cannot_be_called(role_of_server, call):
    with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
        as_owners(role_of_server, ADA).execute(f"SELECT {call}".encode())


def test_a_capture_trigger_cannot_be_put_on_a_table_of_ones_own(role_of_server):
    role_of_server.execute(
        "CREATE TEMPORARY TABLE forged (owner text, publication_id text, updated_at timestamptz, device_id text)"
    )
    with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
        role_of_server.execute(
            "CREATE TRIGGER forge AFTER INSERT ON forged FOR EACH ROW EXECUTE FUNCTION sync_capture_progress_v3()"
        )


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE reading_progress DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE reading_progress DISABLE TRIGGER sync_capture",
        "DROP POLICY owners_select ON reading_progress",
        "CREATE POLICY everybody ON reading_progress USING (true)",
        "CREATE TABLE mine (id int)",
        "SET session_replication_role = 'replica'",
    ],
)
def test_the_servers_role_can_switch_nothing_off(role_of_server, statement):
    with pytest.raises(errors.InsufficientPrivilege):
        role_of_server.execute(statement.encode())


def test_row_security_off_is_an_error_and_shows_nothing(role_of_server):
    as_owners(role_of_server, ADA).execute("SET LOCAL row_security = off")
    with pytest.raises(errors.InsufficientPrivilege):
        owners_in(role_of_server, "reading_progress")


def test_a_removal_of_another_owner_cannot_be_given_a_stamp(role_of_server, filled):
    filled.execute("DELETE FROM reading_progress")
    with pytest.raises(errors.InsufficientPrivilege):
        as_owners(role_of_server, ADA).execute("SELECT sync_removed_v3(%s, 'progress', 'moby', now(), 'phone')", [BEN])


# -- owners of every shape ---------------------------------------------------

names = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=255),
    st.text(st.sampled_from("a,b'\"{}\\ NULL\n\t()%_;$:\N{BOOKS}"), min_size=1, max_size=40),
    st.sampled_from(["NULL", "null", "{}", "{NULL}", '"', "\\", ",", "'", " ", "a,b", '{"a"}', "%", "$1", ":owners"]),
)
SEEN = sa.text("SELECT owner FROM reading_progress")
PUT = sa.text("INSERT INTO reading_progress (owner, publication_id, updated_at) VALUES (:owner, 'moby', now())")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(names, min_size=2, max_size=5, unique=True))
async def test_owners_of_any_characters_are_named_exactly(sql, server: Database, found: list[str]):
    sql.execute("DELETE FROM reading_progress")
    for owner in found:
        async with server.transaction([owner]) as connection:
            await connection.execute(PUT, {"owner": owner})
    for owner in found:
        async with server.transaction([owner]) as connection:
            assert (await connection.execute(SEEN)).scalars().all() == [owner]
    async with server.transaction(found[1:], queue=True) as connection:
        assert set((await connection.execute(SEEN)).scalars().all()) == set(found[1:])
    await _no_other_shows(server, found)


async def _no_other_shows(server: Database, found: list[str]) -> None:
    """Owners joined by what joins them in an array are one other owner, not these."""
    lookalikes = [",".join(found), json.dumps(found), "{" + ",".join(found) + "}", f"{found[0]} "]
    async with server.transaction([name for name in lookalikes if name not in found]) as connection:
        assert (await connection.execute(SEEN)).scalars().all() == []
