"""Keys that say something else than their columns, ranks that are none, numbers forgotten, imports that nobody runs."""

from uuid import uuid4

import psycopg
import pytest

from syncserver.storage import workspaces
from syncserver.storage.database import Database
from syncserver.storage.diagnosis import Fault
from syncserver.storage.resource import Catalog
from tests.harness import Urls
from tests.storage.broken import ADA, BEN, past_the_triggers
from tests.storage.workspace_rows import PLACE, component, key, node, session, workspace

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
        return [(f.fault, f.resource, f.key) for f in await workspaces.of(connection, catalog, owner)]


async def mended(owning: Database, catalog: Catalog, owner: str = ADA) -> int:
    async with owning.transaction([owner], queue=True) as connection:
        return await workspaces.mend(connection, catalog, owner)


def sequence(sql: psycopg.Connection, of: str = "N001", owner: str = ADA) -> list[str]:
    rows = sql.execute(
        "SELECT component_id FROM node_components WHERE owner = %s AND node_id = %s ORDER BY rank, id", [owner, of]
    )
    return [own for (own,) in rows]


@pytest.mark.usefixtures("written")
async def test_a_sound_workspace_has_nothing_wrong_and_nothing_to_mend(owning, server, catalog):
    assert await found(server, catalog) == await found(server, catalog, BEN) == []
    assert await mended(owning, catalog) == 0


# -- keys --------------------------------------------------------------------


@pytest.mark.parametrize("own", ["N1", "N000", "N01x", "n001", "N0001", "", "N003:4"])
async def test_a_node_whose_number_is_none_is_found(server, catalog, written, own):
    written.execute("ALTER TABLE nodes DROP CONSTRAINT nodes_key, ALTER number DROP EXPRESSION")
    written.execute(
        "INSERT INTO nodes (owner, id, session_id, number, updated_at) VALUES (%s, %s, %s, 1, now())",
        [ADA, key(own), PLACE],
    )
    assert await found(server, catalog) == [(Fault.KEY, "nodes", key(own))]
    assert await found(server, catalog, BEN) == []


async def test_a_row_that_stands_in_another_session_than_its_key_says_is_found(server, catalog, written):
    session(written, other := str(uuid4()))
    node(written, "N001", place=other)
    written.execute("ALTER TABLE node_components DROP CONSTRAINT node_components_key")
    written.execute("UPDATE node_components SET session_id = %s WHERE owner = %s AND id = %s", [other, ADA, key("c1")])
    assert await found(server, catalog) == [(Fault.KEY, "node_components", key("c1"))]


async def test_a_column_that_is_not_made_of_the_key_any_more_is_held_against_it(server, catalog, written):
    written.execute("ALTER TABLE nodes ALTER node_id DROP EXPRESSION")
    assert await found(server, catalog) == []
    written.execute("UPDATE nodes SET node_id = 'N009' WHERE owner = %s AND id = %s", [ADA, key("N002")])
    assert await found(server, catalog) == [(Fault.KEY, "nodes", key("N002"))]


# -- ranks -------------------------------------------------------------------


@pytest.mark.parametrize("rank", ["", "a0", "ü", "a b", "z" * 256])
async def test_a_rank_that_is_none_is_found_and_its_sequence_keeps_its_order(owning, server, catalog, written, rank):
    written.execute("ALTER TABLE node_components DROP CONSTRAINT node_components_rank_check")
    component(written, "odd", rank=rank)
    component(written, "c3", of="N002")
    others = written.execute("SELECT id, rank, updated_at FROM node_components WHERE node_id = 'N002'").fetchall()
    shown = sequence(written)
    assert await found(server, catalog) == [(Fault.RANK, "node_components", key("odd"))]
    assert await mended(owning, catalog) == 3
    assert await found(server, catalog) == []
    assert sequence(written) == shown
    assert (
        written.execute("SELECT id, rank, updated_at FROM node_components WHERE node_id = 'N002'").fetchall() == others
    )
    (last,) = written.execute("SELECT min(\"offset\") FROM changes WHERE owner = %s AND key LIKE '%%:c_'", [ADA])
    assert last[0] > 6, "devices are told of every row of it"


async def test_a_sequence_that_another_check_forbids_is_left_and_the_rest_mended(owning, server, catalog, written):
    written.execute("ALTER TABLE node_components DROP CONSTRAINT node_components_rank_check")
    written.execute("ALTER TABLE node_components DROP CONSTRAINT node_components_type_check")
    component(written, "odd", rank="")
    component(written, "other", of="N002", rank="")
    written.execute("UPDATE node_components SET type = '' WHERE id = %s", [key("odd")])
    written.execute("ALTER TABLE node_components ADD CHECK (type <> '') NOT VALID")
    assert await mended(owning, catalog) == 1
    assert await found(server, catalog) == [(Fault.RANK, "node_components", key("odd"))]


# -- numbers -----------------------------------------------------------------


async def test_a_number_whose_removal_the_database_did_not_see_is_remembered(owning, server, catalog, written):
    node(written, "N007")
    written.execute("ALTER TABLE nodes DISABLE TRIGGER numbered")
    written.execute("DELETE FROM nodes WHERE owner = %s AND node_id = 'N007'", [ADA])
    assert await found(server, catalog) == [(Fault.NUMBER, "nodes", PLACE)]
    assert await mended(owning, catalog) == 1
    assert await found(server, catalog) == []
    assert written.execute("SELECT last FROM node_numbers WHERE owner = %s", [ADA]).fetchall() == [(7,)]


async def test_a_number_that_was_set_back_is_raised_and_one_ahead_is_left(owning, server, catalog, written):
    node(written, "N007")
    written.execute("DELETE FROM nodes WHERE owner = %s AND node_id = 'N007'", [ADA])
    for last, faults in ((6, [(Fault.NUMBER, "nodes", PLACE)]), (9, [])):
        written.execute("UPDATE node_numbers SET last = %s WHERE owner = %s", [last, ADA])
        assert await found(server, catalog) == faults
        await mended(owning, catalog)
        kept = written.execute("SELECT last FROM node_numbers WHERE owner = %s", [ADA]).fetchone()
        assert kept == (max(last, 7),)


async def test_a_forgotten_number_below_one_that_is_there_is_no_fault(server, catalog, written):
    written.execute("ALTER TABLE nodes DISABLE TRIGGER numbered")
    written.execute("DELETE FROM nodes WHERE owner = %s AND node_id = 'N001'", [ADA])
    assert await found(server, catalog) == []


async def test_the_numbers_of_a_session_that_is_gone_are_not_missed(server, catalog, written):
    written.execute("DELETE FROM sessions WHERE owner = %s", [ADA])
    assert await found(server, catalog) == []


# -- imports -----------------------------------------------------------------


async def test_an_import_that_nobody_runs_any_more_has_failed(owning, server, catalog, written):
    silent, running, done = (str(uuid4()) for _ in range(3))
    session(written, other := str(uuid4()))
    for name, place, state, ago_s in (
        (silent, PLACE, "running", 31),
        (running, other, "running", 1),
        (done, PLACE, "done", 60),
    ):
        written.execute(
            "INSERT INTO imports (owner, id, session_id, state, seen_at)"
            " VALUES (%s, %s, %s, %s, now() - make_interval(secs => %s))",
            [ADA, name, place, state, ago_s],
        )
    assert await found(server, catalog) == [(Fault.IMPORT, "imports", silent)]
    assert await mended(owning, catalog) == 1
    assert await found(server, catalog) == []
    states = dict(written.execute("SELECT id::text, state FROM imports").fetchall())
    assert states == {silent: "failed", running: "running", done: "done"}


async def test_other_owners_are_left_alone(owning, server, catalog, written):
    written.execute("ALTER TABLE node_components DROP CONSTRAINT node_components_rank_check")
    with past_the_triggers(written):
        written.execute("UPDATE node_components SET rank = '' WHERE owner = %s", [BEN])
    assert await mended(owning, catalog) == 0
    assert len(await found(server, catalog, BEN)) == 2
