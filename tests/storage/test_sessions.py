"""A session's row carries all that the session owns: with it that goes, and without it nothing can be written."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from syncserver import resources
from syncserver.core.actor import session_owner
from syncserver.core.errors import Unauthorised
from syncserver.storage import sessions
from syncserver.storage.database import Database
from tests.harness import Urls
from tests.resources import samples

ENDED = "SE404"

_PLACE = (
    "WITH s AS (INSERT INTO sessions (owner, id)"
    " SELECT %(o)s, gen_random_uuid() WHERE %(o)s::text LIKE 'user:%%' RETURNING id), k AS (SELECT id FROM s UNION ALL"
    " SELECT CASE WHEN %(o)s::text LIKE 'session:%%' THEN substr(%(o)s::text, 9)::uuid END"
    " WHERE %(o)s::text LIKE 'session:%%')"
)
"""A session: the visitor's, whether or not it is there, or a new one of a reader's."""

_NODE = (
    f"{_PLACE}, n AS (INSERT INTO nodes (owner, id, session_id) SELECT %(o)s, id || ':N009', id FROM k"
    " ON CONFLICT DO NOTHING)"
)

INSERTS = {
    "reading_progress": "INSERT INTO reading_progress (owner, publication_id) VALUES (%(o)s, 'moby')",
    "reading_sessions": "INSERT INTO reading_sessions (owner, id, publication_id, started_at, last_activity)"
    " VALUES (%(o)s, gen_random_uuid(), 'moby', now(), now())",
    "session_events": "INSERT INTO session_events (owner, id, session_id, type, at)"
    " VALUES (%(o)s, gen_random_uuid(), gen_random_uuid(), 'saved', now())",
    "readings": "INSERT INTO readings (owner, session_id, publication_id, started_at, finished_at, active_seconds,"
    " session) VALUES (%(o)s, gen_random_uuid(), 'moby', now(), now(), 0, '{}')",
    "reading_times": "INSERT INTO reading_times (owner, session_id, quarter, publication_id, active, pages, span)"
    " VALUES (%(o)s, gen_random_uuid(), now(), 'moby', '{}', '{}', '{}')",
    "conversations": "INSERT INTO conversations (owner, id, title) VALUES (%(o)s, gen_random_uuid(), 'On Ahab')",
    "messages": "WITH c AS (INSERT INTO conversations (owner, id, title)"
    " VALUES (%(o)s, gen_random_uuid(), 'On Ahab') RETURNING id)"
    " INSERT INTO messages (owner, id, conversation_id, role, content)"
    " SELECT %(o)s, gen_random_uuid(), id, 'user', 'Hi' FROM c",
    "nodes": f"{_PLACE} INSERT INTO nodes (owner, id, session_id) SELECT %(o)s, id || ':N001', id FROM k",
    "node_components": f"{_NODE} INSERT INTO node_components (owner, id, session_id, node_id, rank, type)"
    " SELECT %(o)s, id || ':c', id, 'N009', 'V', 'text' FROM k",
    "session_relationships": f"{_NODE} INSERT INTO session_relationships"
    " (owner, id, session_id, from_node, to_node, type) SELECT %(o)s, id || ':r', id, 'N009', 'N009', 'knows' FROM k",
    "node_numbers": f"{_PLACE} INSERT INTO node_numbers (owner, session_id, last) SELECT %(o)s, id, 7 FROM k",
    "imports": f"{_PLACE} INSERT INTO imports (owner, id, session_id, state)"
    " SELECT %(o)s, gen_random_uuid(), id, 'done' FROM k",
    "channels": "INSERT INTO channels (owner) VALUES (%(o)s)",
    "mutations": "INSERT INTO mutations (owner, client_id, mutation_id, ack)"
    " VALUES (%(o)s, 'c', gen_random_uuid(), '{}')",
    "temporary_keys": "INSERT INTO temporary_keys (owner, client_id, name, resource, key)"
    " VALUES (%(o)s, 'c', 'n', 'r', 'k')",
    "conflicts": "INSERT INTO conflicts (owner, id, resource, key, policy, reason, winner, loser)"
    " VALUES (%(o)s, gen_random_uuid(), 'progress', 'moby', 'p', 'r', '{}', '{}')",
    "tickets": "INSERT INTO tickets (hash, owner, expires_at) VALUES (%(h)s, %(o)s, now() + interval '1 minute')",
    "presences": "INSERT INTO presences (owner, connection, process, device_id, state, since, seen_at)"
    " VALUES (%(o)s, gen_random_uuid(), gen_random_uuid(), 'phone', '{}', now(), now())",
    "notes": "INSERT INTO notes (owner, kind, body) VALUES (%(o)s, 'broadcast', '{}')",
    "revocations": "INSERT INTO revocations (owner, token_id, expires_at)"
    " VALUES (%(o)s, 'x', now() + interval '1 day')",
}
"""One row of each table that keeps owners apart; the log is written by triggers, and `sessions` is what it is about."""

DERIVED = {r.table.name: r.name for r in resources.catalog().values() if r.table.name not in {*INSERTS, "sessions"}}
"""Tables of resources whose rows can be made of what the resource says."""


def insert(sql: psycopg.Connection, table: str, owner: str) -> None:
    if table in DERIVED:
        samples.insert(sql, DERIVED[table], owner, samples.key_of(DERIVED[table], str(uuid4())), "mark")
    else:
        sql.execute(INSERTS[table].encode(), {"o": owner, "h": uuid4().bytes})


def begin(sql: psycopg.Connection) -> str:
    """A session made by hand; its owner."""
    session_id = uuid4()
    sql.execute("INSERT INTO sessions (owner, id) VALUES (%s, %s)", [session_owner(session_id), session_id])
    return session_owner(session_id)


def filled(sql: psycopg.Connection) -> str:
    owner = begin(sql)
    for table in (*INSERTS, *DERIVED):
        if table != "channels":  # the session's own change has made it
            insert(sql, table, owner)
    assert tables_of(sql, owner) == {*owned(sql)}
    return owner


def owned(sql: psycopg.Connection) -> list[str]:
    """Every table with an owner, as the catalogue says."""
    found = sql.execute("""
        SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'owner'
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace ORDER BY 1
    """)
    return [name for (name,) in found.fetchall()]


def tables_of(sql: psycopg.Connection, owner: str) -> set[str]:
    """The tables that hold rows of this owner."""
    return {t for t in owned(sql) if sql.execute(f"SELECT FROM {t} WHERE owner = %s".encode(), [owner]).rowcount}


def test_every_table_with_an_owner_is_filled_here(sql: psycopg.Connection):
    assert {*owned(sql)} == {*INSERTS, *DERIVED, "changes", "sessions"}


# -- the row -----------------------------------------------------------------


async def test_a_session_is_begun_found_touched_and_ended(server: Database):
    session_id = uuid4()
    owner = session_owner(session_id)
    async with server.transaction([owner]) as connection:
        made = (await sessions.begin(connection, [session_id]))[session_id]
    assert made.created_at == made.last_accessed
    assert made.expires_at == made.created_at.replace(year=made.created_at.year + 100)
    async with server.transaction([owner]) as connection:
        assert await sessions.find(connection, owner, session_id) == made
        touched = await sessions.touch(connection, owner, session_id)
        assert touched is not None
        assert touched.last_accessed > made.last_accessed
        assert (touched.created_at, touched.expires_at) == (made.created_at, made.expires_at)
    async with server.transaction([owner]) as connection:
        assert await sessions.end(connection, owner, session_id)
        assert not await sessions.end(connection, owner, session_id)
        assert await sessions.find(connection, owner, session_id) is None
        assert await sessions.touch(connection, owner, session_id) is None


async def test_another_s_session_is_not_there(server: Database):
    session_id = uuid4()
    owner = session_owner(session_id)
    async with server.transaction([owner]) as connection:
        await sessions.begin(connection, [session_id])
    async with server.transaction(["user:eve"]) as connection:
        assert await sessions.find(connection, owner, session_id) is None
        assert await sessions.touch(connection, owner, session_id) is None
        assert not await sessions.end(connection, owner, session_id)
        assert await sessions.find(connection, "user:eve", session_id) is None


async def test_a_touch_moves_no_head_and_rings_no_bell(server: Database, sql: psycopg.Connection):
    session_id = uuid4()
    owner = session_owner(session_id)
    async with server.transaction([owner]) as connection:
        await sessions.begin(connection, [session_id])
    before = sql.execute("SELECT * FROM changes").fetchall()
    sql.execute("LISTEN syncserver; LISTEN syncserver_keys")
    async with server.transaction([owner]) as connection:
        await sessions.touch(connection, owner, session_id)
    sql.execute("NOTIFY syncserver, 'the end'")
    assert [notify.payload for notify in sql.notifies(stop_after=1)] == ["the end"]
    assert sql.execute("SELECT * FROM changes").fetchall() == before
    assert sql.execute("SELECT head FROM channels").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO sessions (owner, id) VALUES ('session:' || gen_random_uuid(), gen_random_uuid())",
        "INSERT INTO sessions (owner, id, device_id) VALUES ('user:ada', gen_random_uuid(), 'phone')",
        "INSERT INTO sessions (owner, id) SELECT 'user:eve', id FROM sessions",
        "UPDATE sessions SET owner = 'session:' || gen_random_uuid()",
    ],
)
def test_a_visitor_owns_its_own_session_and_no_device_is_noted(sql: psycopg.Connection, statement: str):
    begin(sql)
    with pytest.raises(errors.IntegrityError):
        sql.execute(statement.encode())


# -- nothing without it ------------------------------------------------------


@pytest.mark.parametrize("table", [*INSERTS, *DERIVED])
def test_nothing_is_written_for_a_session_that_is_not_there(sql: psycopg.Connection, table: str):
    with pytest.raises(psycopg.Error) as refused:
        insert(sql, table, f"session:{uuid4()}")
    assert refused.value.sqlstate == ENDED
    insert(sql, table, "user:ada")


async def test_the_server_hears_that_the_session_has_ended(server: Database):
    owner = session_owner(uuid4())
    with pytest.raises(Unauthorised):
        await _write_for(server, owner)


async def _write_for(server: Database, owner: str) -> None:
    async with server.transaction([owner]) as connection:
        await connection.exec_driver_sql(
            "INSERT INTO reading_progress (owner, publication_id, updated_at) VALUES (%s, 'moby', now())", (owner,)
        )


@pytest.fixture
def another(database: Urls) -> Iterator[psycopg.Connection]:
    """Another connection of the owner, in a transaction."""
    with psycopg.connect(database.owner) as connection:
        yield connection
        connection.rollback()


def test_a_session_does_not_end_under_a_writer(sql: psycopg.Connection, another: psycopg.Connection):
    owner = begin(sql)
    insert(another, "tickets", owner)
    sql.execute("SET lock_timeout = '50ms'")
    with pytest.raises(errors.LockNotAvailable):
        sql.execute("DELETE FROM sessions WHERE owner = %s", [owner])
    another.commit()
    sql.execute("DELETE FROM sessions WHERE owner = %s", [owner])
    assert tables_of(sql, owner) == set()


# -- nothing after it --------------------------------------------------------


def test_deleting_the_row_takes_everything(sql: psycopg.Connection):
    owner, other = filled(sql), filled(sql)
    sql.execute("LISTEN syncserver_keys")
    sql.execute("DELETE FROM sessions WHERE owner = %s", [owner])
    assert tables_of(sql, owner) == set()
    assert tables_of(sql, other) == {*owned(sql)}
    assert [notify.payload for notify in sql.notifies(stop_after=1)] == [owner]


def test_one_statement_may_end_many_sessions(sql: psycopg.Connection):
    owners = [filled(sql) for _ in range(3)]
    kept = filled(sql)
    sql.execute("DELETE FROM sessions WHERE owner <> %s", [kept])
    assert [tables_of(sql, owner) for owner in owners] == [set()] * 3
    assert tables_of(sql, kept) == {*owned(sql)}


def test_a_table_that_comes_later_is_emptied_too(sql: psycopg.Connection):
    sql.execute("""
        CREATE TABLE shelves (
          owner text, id text, device_id text, updated_at timestamptz NOT NULL, PRIMARY KEY (owner, id));
        SELECT sync_track_v4('shelves', 'shelves', 'id'), sync_isolate_v1('shelves'), sync_upkeep_v1('shelves');
    """)
    owner = begin(sql)
    sql.execute("INSERT INTO shelves (owner, id) VALUES (%s, 'best')", [owner])
    sql.execute("DELETE FROM sessions WHERE owner = %s", [owner])
    assert tables_of(sql, owner) == set()


def test_a_session_that_changes_hands_leaves_nothing_behind_but_its_row(sql: psycopg.Connection):
    owner = filled(sql)
    sql.execute("LISTEN syncserver_keys")
    sql.execute("UPDATE sessions SET owner = 'user:ada' WHERE owner = %s", [owner])
    assert tables_of(sql, owner) == set()
    assert tables_of(sql, "user:ada") == {"sessions", "channels", "changes"}
    assert [notify.payload for notify in sql.notifies(stop_after=1)] == [owner]
    with pytest.raises(psycopg.Error) as refused:
        insert(sql, "reading_progress", owner)
    assert refused.value.sqlstate == ENDED


def test_rows_that_were_moved_before_stay(sql: psycopg.Connection):
    owner = filled(sql)
    with sql.transaction():
        sql.execute("UPDATE reading_progress SET owner = 'user:ada' WHERE owner = %s", [owner])
        sql.execute("UPDATE sessions SET owner = 'user:ada' WHERE owner = %s", [owner])
    assert tables_of(sql, owner) == set()
    found = sql.execute("SELECT resource, op FROM changes WHERE owner = 'user:ada' ORDER BY 1").fetchall()
    assert found == [("progress", "put"), ("sessions", "put")]


def test_a_claimed_session_s_row_goes_alone_and_leaves_a_tombstone(sql: psycopg.Connection):
    owner = filled(sql)
    sql.execute("UPDATE reading_progress SET owner = 'user:ada' WHERE owner = %s", [owner])
    sql.execute("UPDATE sessions SET owner = 'user:ada' WHERE owner = %s", [owner])
    sql.execute("DELETE FROM sessions WHERE owner = 'user:ada'")
    found = sql.execute("SELECT resource, op FROM changes WHERE owner = 'user:ada' ORDER BY 1").fetchall()
    assert found == [("progress", "put"), ("sessions", "remove")]
    assert tables_of(sql, "user:ada") == {"reading_progress", "channels", "changes"}


def test_the_server_s_role_cannot_touch_another_s_session(database: Urls, sql: psycopg.Connection):
    owner = filled(sql)
    with psycopg.connect(database.server) as role:
        role.execute("SELECT set_config('syncserver.owners', '{user:eve}', true)")
        for statement in ("DELETE FROM sessions", "UPDATE sessions SET last_accessed = now()"):
            assert role.execute(statement.encode()).rowcount == 0
        with pytest.raises(errors.InsufficientPrivilege):
            role.execute("INSERT INTO sessions (owner, id) VALUES ('user:ada', gen_random_uuid())")
    assert tables_of(sql, owner) == {*owned(sql)}
