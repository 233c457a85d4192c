"""Every thing that must be true of a database before it is trusted, each made false once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from syncserver.core.errors import SetupError
from syncserver.storage import checks, schema
from syncserver.storage.checks import Finding
from syncserver.storage.resource import Catalog
from tests.harness import Urls


def name_in(url: str) -> str:
    return url.rpartition("user=")[2]


def wrong(url: str, catalog: Catalog) -> list[Finding]:
    return [finding for finding in checks.examine(url, catalog) if not finding.ok]


def refused(url: str, catalog: Catalog) -> SetupError:
    with pytest.raises(SetupError) as error:
        checks.require(url, catalog)
    assert error.value.advice
    return error.value


def only(url: str, catalog: Catalog) -> Finding:
    """The one thing that is wrong."""
    found = wrong(url, catalog)
    assert len(found) == 1, found
    return found[0]


@pytest.fixture
def lone(database: Urls, role) -> Iterator[str]:
    """A role of the test's own, made as the server's is."""
    with role(database.owner, "LOGIN IN ROLE syncserver_app") as url:
        yield url


def test_all_is_well_with_the_servers_role(database: Urls, catalog: Catalog):
    found = list(checks.examine(database.server, catalog))
    assert [finding for finding in found if not finding.ok] == []
    assert [finding.subject for finding in found] == [
        "connection",
        "version",
        "writes",
        "migrations",
        "role",
        "ownership",
        "durability",
        "crash safety",
        "connections",
        "isolation",
        *(f"table {resource.table.name}" for resource in catalog.values()),
    ]
    checks.require(database.server, catalog)


def test_a_log_without_row_level_security_is_found(database: Urls, catalog: Catalog, sql):
    sql.execute("ALTER TABLE changes DISABLE ROW LEVEL SECURITY")
    assert [finding.subject for finding in wrong(database.server, catalog)] == ["isolation"]


def test_all_is_well_with_any_member_of_the_group(lone: str, catalog: Catalog):
    assert wrong(lone, catalog) == []


def test_a_database_that_is_away_ends_the_examination(tmp_path: Path, catalog: Catalog):
    url = f"postgresql:///any?host={tmp_path}"
    (finding,) = list(checks.examine(url, catalog))
    assert (finding.subject, finding.ok) == ("connection", False)
    assert "SYNCSERVER_DATABASE_URL" in refused(url, catalog).advice


def test_a_url_that_is_none_ends_the_examination(catalog: Catalog):
    (finding,) = list(checks.examine("postgresql://[", catalog))
    assert (finding.subject, finding.ok) == ("connection", False)


def test_a_password_is_never_repeated(tmp_path: Path, catalog: Catalog):
    error = refused(f"postgresql://ada:opensesame@/any?host={tmp_path}", catalog)
    assert "opensesame" not in error.detail


def test_a_database_that_was_never_migrated_is_told_how(empty_database: Urls, catalog: Catalog):
    finding = only(empty_database.server, catalog)
    assert finding.subject == "migrations"
    assert "none" in finding.detail
    assert "syncserver migrate" in refused(empty_database.server, catalog).advice


def test_a_database_at_an_older_migration_is_told_which(database: Urls, catalog: Catalog):
    schema.downgrade(database.owner, schema.revisions()[-2])
    finding = only(database.server, catalog)
    assert finding.subject == "migrations"
    assert schema.revisions()[-2] in finding.detail
    assert schema.newest() in finding.detail


def test_a_database_whose_note_is_empty_counts_as_not_migrated(database: Urls, sql, catalog: Catalog):
    sql.execute("DELETE FROM alembic_version")
    assert only(database.server, catalog).subject == "migrations"


def test_a_superuser_is_refused_because_it_bypasses_row_level_security(database: Urls, catalog: Catalog):
    assert [finding.subject for finding in wrong(database.owner, catalog)] == ["role", "ownership"]
    assert "bypasses" in refused(database.owner, catalog).detail


def test_a_role_that_bypasses_row_level_security_is_refused(sql, lone: str, catalog: Catalog):
    sql.execute(f"ALTER ROLE {name_in(lone)} BYPASSRLS".encode())
    finding = only(lone, catalog)
    assert finding.subject == "role"
    assert "bypasses" in finding.detail
    refused(lone, catalog)


def test_a_role_without_the_group_may_not_use_the_tables(database: Urls, role, catalog: Catalog):
    with role(database.owner, "LOGIN") as url:
        finding = only(url, catalog)
        assert (finding.subject, "may not" in finding.detail) == ("migrations", True)
        assert "GRANT syncserver_app" in refused(url, catalog).advice


def test_a_role_that_is_no_member_is_refused_even_where_it_may_read(database: Urls, sql, role, catalog: Catalog):
    with role(database.owner, "LOGIN") as url:
        sql.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name_in(url)}".encode())
        finding = only(url, catalog)
        assert finding.subject == "role"
        assert "not a member" in finding.detail


@pytest.mark.parametrize("table", ["reading_progress", "changes", "mutations"])
def test_a_role_that_owns_a_table_is_refused(sql, lone: str, catalog: Catalog, table: str):
    sql.execute(f"ALTER TABLE {table} OWNER TO {name_in(lone)}".encode())
    assert only(lone, catalog).subject == "ownership"
    assert "owns" in refused(lone, catalog).detail
    sql.execute(f"ALTER TABLE {table} OWNER TO syncserver".encode())


def test_a_member_of_the_role_that_owns_a_table_is_refused(database: Urls, sql, role, lone: str, catalog: Catalog):
    with role(database.owner, "NOLOGIN") as keeper:
        sql.execute(f"GRANT {name_in(keeper)} TO {name_in(lone)}".encode())
        sql.execute(f"ALTER TABLE conflicts OWNER TO {name_in(keeper)}".encode())
        assert only(lone, catalog).subject == "ownership"


def test_a_role_whose_commits_may_be_lost_is_refused(sql, lone: str, catalog: Catalog):
    sql.execute(f"ALTER ROLE {name_in(lone)} SET synchronous_commit = off".encode())
    finding = only(lone, catalog)
    assert (finding.subject, finding.fatal) == ("durability", True)
    assert "synchronous_commit = on" in refused(lone, catalog).advice


@pytest.mark.parametrize("value", ["on", "local", "remote_write", "remote_apply"])
def test_any_commit_that_reaches_the_disk_is_good_enough(sql, lone: str, catalog: Catalog, value: str):
    sql.execute(f"ALTER ROLE {name_in(lone)} SET synchronous_commit = {value}".encode())
    assert wrong(lone, catalog) == []


@pytest.mark.parametrize(
    "trigger", ["sync_stamp", "sync_capture", "sync_no_truncate", "sync_capture_new", "sync_capture_gone"]
)
def test_a_disabled_trigger_is_found(database: Urls, sql, catalog: Catalog, trigger: str):
    sql.execute(f"ALTER TABLE reading_progress DISABLE TRIGGER {trigger}".encode())
    finding = only(database.server, catalog)
    assert finding.subject == "table reading_progress"
    assert "ENABLE TRIGGER" in refused(database.server, catalog).advice
    sql.execute(f"ALTER TABLE reading_progress ENABLE REPLICA TRIGGER {trigger}".encode())
    assert only(database.server, catalog).subject == "table reading_progress"
    sql.execute(f"ALTER TABLE reading_progress ENABLE ALWAYS TRIGGER {trigger}".encode())
    assert wrong(database.server, catalog) == []


def test_a_dropped_trigger_is_found(database: Urls, sql, catalog: Catalog):
    sql.execute("DROP TRIGGER sync_capture ON reading_progress")
    assert only(database.server, catalog).subject == "table reading_progress"


@pytest.mark.parametrize("change", ["NO FORCE", "DISABLE"])
def test_row_level_security_that_is_off_or_not_forced_is_found(database: Urls, sql, catalog: Catalog, change: str):
    sql.execute(f"ALTER TABLE reading_progress {change} ROW LEVEL SECURITY".encode())
    assert only(database.server, catalog).subject == "table reading_progress"
    assert "row-level security" in refused(database.server, catalog).detail


def test_what_is_not_fatal_does_not_stop_the_server(monkeypatch, database: Urls, catalog: Catalog):
    warning = Finding("crash safety", ok=False, detail="fsync is off.", advice="Set it on.", fatal=False)
    monkeypatch.setattr(checks, "_crash_safety", lambda *_: warning)
    assert only(database.server, catalog) == warning
    checks.require(database.server, catalog)


def test_a_postgresql_that_is_too_old_ends_the_examination(monkeypatch, database: Urls, catalog: Catalog):
    monkeypatch.setattr(checks, "OLDEST", 990000)
    assert only(database.server, catalog).subject == "version"
    assert "15 or newer" in refused(database.server, catalog).advice


def test_more_connections_than_there_are(database: Urls, catalog: Catalog):
    found = [finding for finding in checks.examine(database.server, catalog, 1_000) if not finding.ok]
    assert [finding.subject for finding in found] == ["connections"]
    assert found[0].fatal
    with pytest.raises(SetupError, match="1000 connections"):
        checks.require(database.server, catalog, 1_000)
