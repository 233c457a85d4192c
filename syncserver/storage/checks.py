"""What has to be true of a database before the server trusts it with readers' rows, and what to do where it is not."""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from syncserver.core.errors import SetupError
from syncserver.storage import schema
from syncserver.storage.resource import Catalog

OLDEST = 150000
_TIMEOUT_S = 5
_GUARDED = (
    "channels",
    "changes",
    "conflicts",
    "mutations",
    "temporary_keys",
    "tickets",
    "presences",
    "notes",
    "revocations",
    "reading_times",
    "node_numbers",
    "imports",
)
_OURS = (*_GUARDED, "epoch", "processes")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `advice` says what to do when it is not `ok`; `fatal`: the server must not start so."""

    subject: str
    ok: bool
    detail: str
    advice: str = ""
    fatal: bool = True


def require(url: str, catalog: Catalog, connections: int = 1) -> None:
    """Raise SetupError with the first thing that stops the server from using so many connections to this database."""
    for finding in examine(url, catalog, connections):
        if finding.fatal and not finding.ok:
            raise SetupError(finding.detail, finding.advice)


def examine(url: str, catalog: Catalog, connections: int = 1) -> Iterator[Finding]:
    """Look at the database as the role of `url` sees it; ends early when the rest cannot be known.

    `connections`: how many the server may need at once, in all its workers.
    """
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=_TIMEOUT_S)
    except psycopg.Error as error:
        yield _unreachable(error)
        return
    with connection:
        yield Finding("connection", ok=True, detail="The database answers.")
        for look in (_version, _writable, _migrated, _role, _ownership, _durability, _crash_safety):
            finding = look(connection, catalog)
            yield finding
            if finding.subject in {"version", "migrations"} and not finding.ok:
                return
        yield _room(connection, connections)
        yield _isolated(connection)
        for name in catalog:
            yield _tracked(connection, catalog, name)


def _unreachable(error: psycopg.Error) -> Finding:
    reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return Finding(
        "connection",
        ok=False,
        detail=f"The database cannot be reached: {reason}",
        advice="See that PostgreSQL runs and that SYNCSERVER_DATABASE_URL has the right host, port, name and password;"
        " or leave the setting out, and the server brings its own PostgreSQL.",
    )


def _version(connection: psycopg.Connection, _: Catalog) -> Finding:
    version = connection.info.server_version
    return Finding(
        "version",
        ok=version >= OLDEST,
        detail=f"This is PostgreSQL {version // 10000}.",
        advice="Use PostgreSQL 15 or newer.",
    )


def _writable(connection: psycopg.Connection, _: Catalog) -> Finding:
    recovering = connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
    return Finding(
        "writes",
        ok=not recovering,
        detail="It is recovering, or a standby: it takes no writes." if recovering else "It takes writes.",
        advice="Wait for the end of its recovery, or name the primary in SYNCSERVER_DATABASE_URL.",
    )


def _migrated(connection: psycopg.Connection, _: Catalog) -> Finding:
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except psycopg.errors.UndefinedTable:
        row = None
    except psycopg.errors.InsufficientPrivilege:
        return Finding(
            "migrations",
            ok=False,
            detail="The server's role may not use the tables.",
            advice="GRANT syncserver_app TO the role in SYNCSERVER_DATABASE_URL.",
        )
    at, wanted = (row[0] if row else None), schema.newest()
    return Finding(
        "migrations",
        ok=at == wanted,
        detail=f"The database is at migration {at or 'none'}, this server needs {wanted}.",
        advice="Run `syncserver migrate` with SYNCSERVER_OWNER_URL, the URL of a role that may create tables.",
    )


def _role(connection: psycopg.Connection, _: Catalog) -> Finding:
    row = connection.execute(
        "SELECT rolsuper OR rolbypassrls,"
        " (SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = 'syncserver_app')"
        " FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    bypasses, member = row or (True, False)
    detail = "The server's role is subject to row-level security."
    if bypasses:
        detail = "The server's role bypasses row-level security: it could show one reader another's rows."
    elif not member:
        detail = "The server's role is not a member of syncserver_app."
    return Finding(
        "role",
        ok=not bypasses and bool(member),
        detail=detail,
        advice="Make one that does not: CREATE ROLE syncserver_server LOGIN PASSWORD '..' IN ROLE syncserver_app;"
        " and name it in SYNCSERVER_DATABASE_URL.",
    )


def _ownership(connection: psycopg.Connection, catalog: Catalog) -> Finding:
    names = [*_OURS, *(resource.table.name for resource in catalog.values())]
    owned = connection.execute(
        "SELECT relname FROM pg_class WHERE relname = ANY (%s) AND relkind = 'r'"
        " AND relnamespace = current_schema()::regnamespace AND pg_has_role(relowner, 'MEMBER')",
        [names],
    ).fetchall()
    return Finding(
        "ownership",
        ok=not owned,
        detail="The server's role owns its tables: it could switch row-level security off."
        if owned
        else "The server's role owns nothing.",
        advice="Migrate as another role (SYNCSERVER_OWNER_URL) than the one the server uses.",
    )


def _durability(connection: psycopg.Connection, _: Catalog) -> Finding:
    row = connection.execute("SHOW synchronous_commit").fetchone()
    value = row[0] if row else "unknown"
    return Finding(
        "durability",
        ok=value != "off",
        detail=f"synchronous_commit is {value}"
        + (": a crash would take back what devices were told." if value == "off" else "."),
        advice="ALTER ROLE the server's role SET synchronous_commit = on (or in postgresql.conf), and start again.",
    )


def _crash_safety(connection: psycopg.Connection, _: Catalog) -> Finding:
    rows = connection.execute(
        "SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'"
    ).fetchall()
    off = " and ".join(row[0] for row in rows)
    return Finding(
        "crash safety",
        ok=not off,
        detail=f"{off} is off: a power cut can ruin the database." if off else "fsync and full_page_writes are on.",
        advice="Set both on in postgresql.conf.",
        fatal=False,
    )


def _room(connection: psycopg.Connection, wanted: int) -> Finding:
    row = connection.execute(
        "SELECT sum(setting::int * CASE name WHEN 'max_connections' THEN 1 ELSE -1 END) FROM pg_settings"
        " WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')"
    ).fetchone()
    most = int(row[0]) if row else 0
    return Finding(
        "connections",
        ok=wanted <= most,
        detail=f"The server may need {wanted} connections at once, and PostgreSQL takes {most}.",
        advice="Lower SYNCSERVER_WORKERS or SYNCSERVER_DATABASE_CONNECTIONS (each worker holds so many and one more),"
        " or raise max_connections in postgresql.conf.",
    )


def _isolated(connection: psycopg.Connection) -> Finding:
    bare = connection.execute(
        "SELECT relname FROM pg_class WHERE relname = ANY (%s) AND relnamespace = current_schema()::regnamespace"
        " AND NOT (relrowsecurity AND relforcerowsecurity)",
        [list(_GUARDED)],
    ).fetchall()
    names = ", ".join(row[0] for row in bare)
    return Finding(
        "isolation",
        ok=not bare,
        detail=f"Row-level security is off or not forced on {names}."
        if bare
        else "Row-level security is forced on the log, the ledger, the conflicts and all else that has an owner.",
        advice="ALTER TABLE each of them ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY.",
    )


def _tracked(connection: psycopg.Connection, catalog: Catalog, name: str) -> Finding:
    table = catalog[name].table.name
    row = connection.execute(
        "SELECT count(t.tgname) FILTER (WHERE t.tgenabled IN ('O', 'A')),"
        " bool_or(t.tgname = 'sync_capture' AND t.tgqual IS NOT NULL),"
        " bool_and(c.relrowsecurity AND c.relforcerowsecurity)"
        " FROM pg_class c LEFT JOIN pg_trigger t"
        " ON t.tgrelid = c.oid AND t.tgname = ANY (ARRAY['sync_stamp', 'sync_capture', 'sync_no_truncate',"
        "   'sync_capture_new', 'sync_capture_changed', 'sync_capture_gone'])"
        " WHERE c.oid = to_regclass(%s)",
        [table],
    ).fetchone()
    triggers, gathered, forced = row or (0, False, False)
    ok = triggers == (6 if gathered else 3) and bool(forced)  # those of sync_track_v4, and of the versions before it
    return Finding(
        f"table {table}",
        ok=ok,
        detail=f"{table} has its triggers and row-level security."
        if ok
        else f"{table} lacks a trigger, or row-level security is not forced: writes would reach no device.",
        advice="Run `syncserver migrate`; if it has nothing to do, somebody dropped or disabled a trigger by hand:"
        f" ALTER TABLE {table} ENABLE TRIGGER ALL, or restore the migration's.",
    )
