"""The file that outlives the program: one SQLite database for one device at one server.

Statements are collected and committed together, so that what belongs together is on disk together or not at all.
SQLite is called on the event loop's thread: each commit is one small transaction on a file that nobody else may
open, about as long as one write to the disk, and a thread in between would cost more and blur the order. A commit
is flushed to the disk (`synchronous=FULL`): an accepted write survives a kill, and a loss of power too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

from syncserver_client.errors import Fatal, StoreRefused

VERSION = "1"
WAIT_S = 1.0  # for a program that is just ending to let go of the file
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (resource TEXT, key TEXT, "offset" INTEGER NOT NULL, body BLOB,
  PRIMARY KEY (resource, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS held (resource TEXT, key TEXT, body BLOB NOT NULL,
  PRIMARY KEY (resource, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS acked (resource TEXT, key TEXT, "offset" INTEGER NOT NULL,
  PRIMARY KEY (resource, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS queue (seq INTEGER PRIMARY KEY AUTOINCREMENT, mutation_id TEXT NOT NULL UNIQUE,
  mutation BLOB NOT NULL, body BLOB);
CREATE TABLE IF NOT EXISTS answered (seq INTEGER PRIMARY KEY, mutation_id TEXT NOT NULL UNIQUE,
  mutation BLOB NOT NULL, ack BLOB NOT NULL, unshown INTEGER NOT NULL, unheard INTEGER NOT NULL);
"""


class Store:
    """`write` collects, `commit` makes durable. `client_id` is the one that this file has had from its beginning."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._closed = False
        self._waiting: list[tuple[str, tuple[Any, ...]]] = []
        self.client_id = ""

    @classmethod
    def open(cls, path: Path | str, url: str, device: str) -> Store:
        """The store in this file, made if it is not there; StoreRefused if it cannot be this device's and server's."""
        connection = None
        try:
            # Made where `connect` is called, used where the loop runs: not at the same time.
            connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            store = cls(connection)
            store._identify({"version": VERSION, "url": url.rstrip("/"), "device": device})
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error):
                raise _refused(error) from error
            raise
        return store

    def _identify(self, expected: dict[str, str]) -> None:
        facts = self.facts()
        for name, value in expected.items():
            if facts.get(name, value) != value:
                raise StoreRefused("other", f"the store belongs to another {name}; give each its own file")
        self.client_id = facts.get("client_id") or str(uuid4())
        for name, value in {**expected, "client_id": self.client_id}.items():
            self.remember(name, value)
        self.commit()

    def facts(self) -> dict[str, str]:
        """What is remembered by name."""
        return dict(self.read("SELECT name, value FROM facts WHERE value IS NOT NULL"))

    def remember(self, name: str, value: str | None) -> None:
        """Collect a fact."""
        self.write(
            "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value
        )

    def read(self, sql: str, *values: Any) -> list[Any]:
        """The rows of a query, as of the last commit."""
        return self._connection.execute(sql, values).fetchall()

    def write(self, sql: str, *values: Any) -> None:
        """Collect a statement."""
        self._waiting.append((sql, values))

    def write_all(self, sql: str, values: Iterable[tuple[Any, ...]]) -> None:
        """Collect a statement once for each of `values`."""
        self._waiting += [(sql, each) for each in values]

    def commit(self) -> None:
        """All that was collected is on disk, or Fatal("store"): a client that cannot keep its word must stop."""
        if not self._waiting or self._closed:
            return
        statements, self._waiting = self._waiting, []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for sql, values in statements:
                self._connection.execute(sql, values)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise Fatal("store", f"the store cannot be written ({type(error).__name__})") from error

    def close(self) -> None:
        """Let go of the file; what comes after is not kept any more."""
        self._closed = True
        self._connection.close()


def _refused(error: sqlite3.Error) -> StoreRefused:
    if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
        return StoreRefused("in_use", "another client has this store open")
    return StoreRefused("unreadable", f"the store cannot be opened ({type(error).__name__})")
