"""How a log breaks in life: writes that go past the triggers, entries that are deleted, a head that is set back."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

ADA, BEN = "user:ada", "user:ben"


def put(sql: psycopg.Connection, *keys: str, owner: str = ADA, device: str | None = "phone") -> None:
    """Rows as anybody writes them."""
    for key in keys:
        sql.execute(
            "INSERT INTO reading_progress (owner, publication_id, device_id, updated_at)"
            " VALUES (%s, %s, %s, '2026-03-01 08:15Z')",
            [owner, key, device],
        )


@contextmanager
def past_the_triggers(sql: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """As a replication tool or a restore of data alone writes."""
    sql.execute("SET session_replication_role = replica")
    yield sql
    sql.execute("RESET session_replication_role")


@contextmanager
def triggers_disabled(sql: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """As somebody writes who wanted a big update to be quick."""
    for name in ("sync_capture", "sync_capture_gone"):
        sql.execute(f"ALTER TABLE reading_progress DISABLE TRIGGER {name}".encode())
    yield sql
    for name in ("sync_capture", "sync_capture_gone"):
        sql.execute(f"ALTER TABLE reading_progress ENABLE TRIGGER {name}".encode())
