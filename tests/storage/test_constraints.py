"""What the database should hold of rows that belong to others is there, on, and true of every row; or it is told."""

import psycopg
import pytest

from syncserver.storage import constraints
from syncserver.storage.database import Database
from syncserver.storage.diagnosis import Fault
from syncserver.storage.resource import Catalog


async def found(server: Database, catalog: Catalog) -> list[tuple[str | None, str]]:
    async with server.transaction([]) as connection:
        findings = await constraints.of(connection, catalog)
    assert {f.fault for f in findings} <= {Fault.CONSTRAINT}
    return [(f.resource, f.detail) for f in findings]


async def test_a_migrated_database_has_them_all(server, catalog):
    assert await found(server, catalog) == []


async def test_every_check_of_a_workspace_is_known(sql: psycopg.Connection):
    tables = [*constraints.CHECKED, "node_numbers"]
    there = sql.execute(
        "SELECT conrelid::regclass::text, conname FROM pg_constraint"
        " WHERE contype = 'c' AND conrelid = ANY (%s::text[]::regclass[]) ORDER BY 1, 2",
        [tables],
    ).fetchall()
    known = [(table, f"{table}_{column}_check") for table, columns in constraints.CHECKED.items() for column in columns]
    keys = [(table, f"{table}_key") for table in constraints.CHECKED if table != "imports"]
    assert sorted(there) == sorted([*known, *keys])


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        ("nodes", "nodes_session_fkey"),
        ("nodes", "nodes_key"),
        ("node_components", "node_components_node_fkey"),
        ("node_components", "node_components_rank_check"),
        ("node_components", "node_components_pkey"),
        ("session_relationships", "session_relationships_from_fkey"),
        ("session_relationships", "session_relationships_to_fkey"),
        ("messages", "messages_conversation_fkey"),
    ],
)
async def test_one_that_was_dropped_is_told(server, catalog, sql, resource, name):
    sql.execute(f"ALTER TABLE {resource} DROP CONSTRAINT {name}")
    assert await found(server, catalog) == [(resource, f"{name} of {resource} is not there")]


async def test_one_that_does_not_hold_for_old_rows_was_never_validated(server, catalog, sql):
    sql.execute("ALTER TABLE node_components DROP CONSTRAINT node_components_node_fkey")
    sql.execute(
        "ALTER TABLE node_components ADD CONSTRAINT node_components_node_fkey FOREIGN KEY (owner, node)"
        " REFERENCES nodes (owner, id) ON DELETE CASCADE DEFERRABLE NOT VALID"
    )
    told = "node_components_node_fkey of node_components was never validated"
    assert await found(server, catalog) == [("node_components", told)]
    sql.execute("ALTER TABLE node_components VALIDATE CONSTRAINT node_components_node_fkey")
    assert await found(server, catalog) == []


async def test_foreign_keys_that_are_off_on_either_side_are_told(server, catalog, sql):
    sql.execute("ALTER TABLE nodes DISABLE TRIGGER ALL")
    assert await found(server, catalog) == [
        ("node_components", "node_components_node_fkey of node_components is off"),
        ("nodes", "nodes_session_fkey of nodes is off"),
        ("session_relationships", "session_relationships_from_fkey of session_relationships is off"),
        ("session_relationships", "session_relationships_to_fkey of session_relationships is off"),
        ("nodes", "numbered of nodes does not fire"),
    ]
    sql.execute("ALTER TABLE nodes ENABLE TRIGGER ALL")
    assert await found(server, catalog) == []


async def test_a_column_that_is_no_longer_made_of_the_key_is_told(server, catalog, sql):
    sql.execute("ALTER TABLE nodes ALTER node_id DROP EXPRESSION")
    assert await found(server, catalog) == [("nodes", "node_id of nodes is not made of others")]


async def test_a_sequence_that_would_not_sort_bytewise_is_told(server, catalog, sql):
    sql.execute('ALTER TABLE node_components ALTER rank TYPE text COLLATE "POSIX"')
    assert await found(server, catalog) == [("node_components", "rank of node_components does not sort bytewise")]


async def test_tables_beside_the_resources_are_looked_at_too(server, catalog, sql):
    sql.execute("ALTER TABLE imports DROP CONSTRAINT imports_session_fkey")
    sql.execute("ALTER TABLE node_numbers DROP CONSTRAINT node_numbers_session_fkey")
    assert await found(server, catalog) == [
        (None, "imports_session_fkey of imports is not there"),
        (None, "node_numbers_session_fkey of node_numbers is not there"),
    ]
