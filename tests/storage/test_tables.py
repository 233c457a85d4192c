"""The tables as values and the tables in the database are the same, and every one that has owners keeps them apart."""

import psycopg
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from syncserver.storage import tables
from syncserver.storage.database import driver_url
from syncserver.storage.resource import Catalog
from tests.harness import Urls


def test_the_models_equal_the_migrated_database(database: Urls, catalog: Catalog):
    assert {resource.table.metadata for resource in catalog.values()} == {tables.metadata}
    engine = sa.create_engine(driver_url(database.owner), poolclass=sa.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "include_schemas": False}
        )
        assert compare_metadata(context, tables.metadata) == []


def test_every_synced_table_has_its_three_triggers(sql: psycopg.Connection, catalog: Catalog):
    for resource in catalog.values():
        found = sql.execute(
            "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname = ANY (%s) ORDER BY 1",
            [resource.table.name, ["sync_capture", "sync_no_truncate", "sync_stamp"]],
        ).fetchall()
        assert found == [("sync_capture", "O"), ("sync_no_truncate", "O"), ("sync_stamp", "O")], resource.name


def test_every_synced_table_is_named_by_owner_and_key(catalog: Catalog):
    for resource in catalog.values():
        assert [column.name for column in resource.table.primary_key] == ["owner", resource.key]
        assert {"updated_at", "device_id"} <= set(resource.table.columns.keys())


def test_every_table_with_an_owner_has_forced_row_level_security_and_a_policy_for_each_command(
    sql: psycopg.Connection, catalog: Catalog
):
    found = sql.execute("""
        SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,
               array(SELECT polcmd::text FROM pg_policy WHERE polrelid = c.oid AND polname LIKE 'owners_%' ORDER BY 1),
               (SELECT bool_and(polpermissive) FROM pg_policy WHERE polrelid = c.oid)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'owner'
        WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace ORDER BY 1
    """).fetchall()
    synced = {resource.table.name for resource in catalog.values()}
    kept = {"changes", "conflicts", "mutations", "temporary_keys", "tickets", "presences", "notes", "revocations"}
    kept |= {"reading_times", "node_numbers", "imports"}
    assert {row[0] for row in found} == synced | {"channels"} | kept
    for name, enabled, forced, commands, permissive in found:
        assert (enabled, forced, commands, permissive) == (True, True, ["a", "d", "r", "w"], True), name


def test_only_upkeep_is_let_past_the_owners_and_only_as_the_tables_owner(sql: psycopg.Connection):
    found = sql.execute("""
        SELECT p.polname, p.polcmd::text, p.polroles = ARRAY[c.relowner]
        FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE p.polname NOT LIKE 'owners_%'
    """).fetchall()
    assert set(found) == {("upkeep_select", "r", True), ("upkeep_delete", "d", True)}


def test_no_view_shows_what_the_policies_hide(sql: psycopg.Connection):
    views = sql.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm')"
    )
    assert views.fetchall() == []


def test_what_runs_with_its_makers_rights_has_a_fixed_search_path_and_is_not_everybodys(sql: psycopg.Connection):
    found = sql.execute("""
        SELECT proname, coalesce(proconfig::text, '') LIKE '%search_path=public, pg_temp%',
               EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee = 0)
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef ORDER BY 1
    """).fetchall()
    assert ("sync_removed_v3", True, False) in found
    assert [name for name, fixed, everybody in found if not fixed or everybody] == []


def test_nothing_can_be_written_for_a_session_that_is_not_there_whatever_the_table(
    sql: psycopg.Connection, catalog: Catalog
):
    """A synced row needs a channel, so the channel's guard is the row's; every other table has its own.

    So have rows that name a session: else the missing session would be found first, as a foreign key that is wrong.
    """
    guarded = {
        row[0] for row in sql.execute("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'sync_living'")
    }
    owned = {table.name for table in tables.metadata.tables.values() if "owner" in table.columns}
    synced = {resource.table.name for resource in catalog.values()}
    named = {resource.table.name for resource in catalog.values() if resource.within}
    assert guarded == owned - synced - {"changes"} | named
