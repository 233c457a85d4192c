"""A row whose home is not there is found, in every resource whose rows belong to others; what becomes of it is told."""

from uuid import uuid4

import psycopg
import pytest

from syncserver.storage import belonging, diagnosis, upkeep
from syncserver.storage.database import Database
from syncserver.storage.diagnosis import Fault
from syncserver.storage.resource import Catalog
from tests.harness import Urls
from tests.storage.broken import ADA, BEN, past_the_triggers
from tests.storage.workspace_rows import PLACE, component, key, node, relationship, session, workspace

Found = list[tuple[Fault, str | None, str | None]]


@pytest.fixture
def owning(database: Urls, pooled) -> Database:
    """The pool of an operator's command."""
    made: Database = pooled(database.owner)
    return made


@pytest.fixture
def written(sql: psycopg.Connection) -> psycopg.Connection:
    """Ada and ben have a workspace each, of the same own ids."""
    workspace(sql)
    workspace(sql, str(uuid4()), BEN)
    return sql


async def found(server: Database, catalog: Catalog, owner: str = ADA) -> Found:
    async with server.transaction([owner]) as connection:
        return [(f.fault, f.resource, f.key) for f in await belonging.of(connection, catalog, owner)]


async def mended(owning: Database, catalog: Catalog, owner: str = ADA) -> int:
    """As the command does it: the rows, then the log, which is right in the end."""
    async with owning.transaction([owner], queue=True) as connection:
        count = await belonging.mend(connection, catalog, owner)
    async with owning.transaction([owner], queue=True) as connection:
        await upkeep.mend(connection, catalog, owner)
    async with owning.transaction([owner]) as connection:
        assert [f for f in (await diagnosis.of(connection, catalog, owner)).findings if f.key is not None] == []
    return count


def remove_past_the_keys(sql: psycopg.Connection, table: str, own: str, owner: str = ADA) -> None:
    with past_the_triggers(sql):
        sql.execute(f"DELETE FROM {table} WHERE owner = %s AND id::text = %s".encode(), [owner, own])


def op(sql: psycopg.Connection, resource: str, own: str) -> str | None:
    row = sql.execute("SELECT op FROM changes WHERE owner = %s AND resource = %s AND key = %s", [ADA, resource, own])
    return next((str(op) for (op,) in row), None)


def ids(sql: psycopg.Connection, table: str, owner: str = ADA) -> list[str]:
    rows = sql.execute(f"SELECT id::text FROM {table} WHERE owner = %s ORDER BY 1".encode(), [owner])
    return [own.rpartition(":")[2] for (own,) in rows]


@pytest.mark.usefixtures("written")
async def test_where_every_row_is_at_home_nothing_is_found_and_nothing_mended(owning, server, catalog):
    assert await found(server, catalog) == await found(server, catalog, BEN) == []
    assert await mended(owning, catalog) == 0


async def test_what_belongs_to_a_removed_node_goes_as_by_the_cascade(owning, server, catalog, written):
    written.execute("DELETE FROM nodes WHERE owner = %s AND node_id = 'N001'", [ADA])
    with past_the_triggers(written):
        component(written, "late")
        relationship(written, "late")
    assert await found(server, catalog) == [
        (Fault.HOME_REMOVED, "node_components", key("late")),
        (Fault.HOME_REMOVED, "session_relationships", key("late")),
    ]
    assert await mended(owning, catalog) == 2
    assert await found(server, catalog) == []
    assert ids(written, "node_components") == ids(written, "session_relationships") == []
    assert op(written, "node_components", key("late")) == "remove"
    assert ids(written, "node_components", BEN) == ["c1", "c2"], "nobody else's"


async def test_a_lost_node_is_made_again_and_what_was_written_of_it_stays(owning, server, catalog, written):
    remove_past_the_keys(written, "nodes", key("N001"))
    assert await found(server, catalog) == [
        (Fault.HOME_LOST, "node_components", key("c1")),
        (Fault.HOME_LOST, "node_components", key("c2")),
        (Fault.HOME_LOST, "session_relationships", key("r")),
    ]
    assert await mended(owning, catalog) == 1
    assert await found(server, catalog) == []
    rows = written.execute("SELECT node_id, title FROM nodes WHERE owner = %s ORDER BY 1", [ADA]).fetchall()
    assert rows == [("N001", ""), ("N002", "Ahab")]
    assert (ids(written, "node_components"), ids(written, "session_relationships")) == (["c1", "c2"], ["r"])
    assert op(written, "nodes", key("N001")) == "put"


async def test_a_node_of_another_session_is_no_home(owning, server, catalog, written):
    session(written, other := str(uuid4()))
    node(written, "N007", place=other)
    with past_the_triggers(written):
        component(written, "stray", of="N007")
    assert await found(server, catalog) == [(Fault.HOME_LOST, "node_components", key("stray"))]
    assert await mended(owning, catalog) == 1
    assert op(written, "nodes", key("N007")) == "put"


async def test_a_relationship_between_a_removed_and_a_lost_node_goes(owning, server, catalog, written):
    with past_the_triggers(written):
        relationship(written, "late", of="N005", to="N006")
        written.execute(
            'INSERT INTO changes (owner, resource, key, "offset", op, updated_at)'
            " VALUES (%s, 'nodes', %s, 0, 'remove', now())",
            [ADA, key("N006")],
        )
    assert {fault for fault, _, _ in await found(server, catalog)} == {Fault.HOME_LOST, Fault.HOME_REMOVED}
    assert await mended(owning, catalog) == 1
    assert ids(written, "nodes") == ["N001", "N002"]
    assert ids(written, "session_relationships") == ["r"]


async def test_nodes_of_a_session_that_nobody_ended_are_told_and_left(owning, server, catalog, written):
    """Sessions are nothing that an operator's command brings back to life."""
    remove_past_the_keys(written, "sessions", PLACE)
    expected = [(Fault.HOMELESS, "nodes", key("N001")), (Fault.HOMELESS, "nodes", key("N002"))]
    assert await found(server, catalog) == expected
    assert await mended(owning, catalog) == 0
    assert ids(written, "nodes") == ["N001", "N002"]


async def test_nodes_of_a_session_that_ended_go_and_all_that_belongs_to_them(owning, server, catalog, written):
    remove_past_the_keys(written, "sessions", PLACE)
    written.execute("UPDATE changes SET op = 'remove' WHERE owner = %s AND resource = 'sessions'", [ADA])
    assert {fault for fault, _, _ in await found(server, catalog)} == {Fault.HOME_REMOVED}
    assert await mended(owning, catalog) == 2
    assert ids(written, "nodes") == ids(written, "node_components") == ids(written, "session_relationships") == []


@pytest.mark.parametrize("own", ["N1", "N000", "bogus"])
async def test_a_node_whose_number_is_none_cannot_be_made(owning, server, catalog, written, own):
    with past_the_triggers(written):
        component(written, "stray", of=own)
    assert await found(server, catalog) == [(Fault.HOMELESS, "node_components", key("stray"))]
    assert await mended(owning, catalog) == 0


async def test_a_lost_node_of_a_lost_session_cannot_be_made(owning, server, catalog, written):
    remove_past_the_keys(written, "sessions", PLACE)
    remove_past_the_keys(written, "nodes", key("N001"))
    assert {fault for fault, _, _ in await found(server, catalog)} == {Fault.HOMELESS}
    assert await mended(owning, catalog) == 0


async def test_messages_too_are_looked_at_and_those_of_a_lost_conversation_left(owning, server, catalog, sql):
    conversation, message = str(uuid4()), str(uuid4())
    sql.execute(
        "INSERT INTO conversations (owner, id, title, updated_at) VALUES (%s, %s, 'Whales', now())",
        [ADA, conversation],
    )
    sql.execute(
        "INSERT INTO messages (owner, id, conversation_id, role, content, updated_at)"
        " VALUES (%s, %s, %s, 'user', 'Call me', now())",
        [ADA, message, conversation],
    )
    assert await found(server, catalog) == []
    remove_past_the_keys(sql, "conversations", conversation)
    assert await found(server, catalog) == [(Fault.HOMELESS, "messages", message)]
    assert await mended(owning, catalog) == 0
    sql.execute("UPDATE changes SET op = 'remove' WHERE resource = 'conversations'")
    assert await found(server, catalog) == [(Fault.HOME_REMOVED, "messages", message)]
    assert await mended(owning, catalog) == 1
    assert ids(sql, "messages") == []
