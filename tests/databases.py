"""A database for each test without making one each time: what is as it was made is emptied and handed on.

Making one costs many times what a test does in it. Whether a test changed more than rows is read from the system's
catalogues, all of them: a row there is new (its xmin is younger than the test) or gone (there are fewer). Then the
database is dropped. Else each table, as the catalogue lists them, gets the rows that it had when it was made. A new
name each time keeps out whoever still holds the old one's URL.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import count
from typing import LiteralString

import psycopg

from syncserver.storage.embedded import EmbeddedPostgres
from tests.harness import Urls

_numbers = count(1)
_LARGEST_BYTES = 10 * 8192  # dead rows stay in the files; below this the planner takes any table for this large
_SHARED = {
    "pg_catalog.pg_database": "false",  # its own row is compared; the others are other tests'
    "pg_catalog.pg_shdepend": "dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))",
    "pg_catalog.pg_db_role_setting": (
        "setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))"
    ),
}
"""Which rows matter of the catalogues that all databases share and that the making of another changes, too."""

_RELATIONS = """
SELECT format('%%I.%%I', nspname, relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = %s AND (nspname IN ('pg_catalog', 'information_schema')) = %s ORDER BY 1
"""
_IN_PLACE = """
SELECT (to_jsonb(d) - '{datname,datfrozenxid,datminmxid}'::text[])::text ||
    (SELECT array_agg((oid, relpages, reltuples) ORDER BY oid) FROM pg_class WHERE oid >= 16384)::text
FROM pg_database d WHERE datname = current_database()
"""  # what VACUUM and ANALYZE write changes no xmin
_LARGEST = (
    "SELECT coalesce(max(pg_relation_size(oid)), 0) FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'i', 't')"
)
_OTHERS = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()
"""


class Databases:
    """The databases of one PostgreSQL, each with one user at a time; not for use by several threads."""

    def __init__(self, postgres: EmbeddedPostgres, template: str) -> None:
        self._postgres = postgres
        self._template = template
        self._free: list[tuple[str, _Made]] = []
        self._taken: dict[Urls, tuple[str, _Made]] = {}
        self._sql = psycopg.connect(postgres.owner_url, autocommit=True)

    def take(self) -> Urls:
        """One in which nobody ever was, as far as can be seen from inside."""
        name, made = self._free.pop() if self._free else self._new()
        urls = Urls(named(self._postgres.owner_url, name), named(self._postgres.server_url, name))
        self._taken[urls] = name, made
        return urls

    def give_back(self, urls: Urls) -> None:
        """End all connections to it, then either put it back into its first state or drop it."""
        name, made = self._taken.pop(urls)
        self._sql.execute(_OTHERS, [name])
        kept = self._renamed(name)
        if kept and self._is_restored(kept, made):
            self._free.append((kept, made))
        else:
            self._drop(kept or name)

    def close(self) -> None:
        """Drop those that nobody has."""
        for name, _ in self._free:
            self._drop(name)
        self._sql.close()

    def _name(self) -> str:
        return f"test_{os.getpid()}_{next(_numbers)}"

    def _new(self) -> tuple[str, _Made]:
        name = self._name()
        self._sql.execute(f"CREATE DATABASE {name} TEMPLATE {self._template} STRATEGY file_copy".encode())
        with self._inside(name) as inside:
            return name, _Made.by(inside)

    def _renamed(self, name: str) -> str | None:
        new = self._name()
        try:
            self._sql.execute(f"ALTER DATABASE {name} RENAME TO {new}".encode())
        except psycopg.errors.ObjectInUse:  # somebody came back at once
            return None
        return new

    def _is_restored(self, name: str, made: _Made) -> bool:
        with self._inside(name) as inside:
            return made.restore(inside)

    def _drop(self, name: str) -> None:
        self._sql.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def _inside(self, name: str) -> psycopg.Connection:
        url = named(self._postgres.owner_url, name)
        return psycopg.connect(url, options="-c synchronous_commit=off -c session_replication_role=replica")


def named(url: str, database: str) -> str:
    """The same URL for another database."""
    return url.replace("postgresql:///syncserver?", f"postgresql:///{database}?")


@dataclass
class _Made:
    """What a database was like when it was made, and since which transaction it has to stay so."""

    catalogues: list[tuple[str, int]]
    in_place: str
    rows: dict[str, bytes]
    sequences: dict[str, tuple[int, bool]]
    since: str

    @classmethod
    def by(cls, inside: psycopg.Connection) -> _Made:
        """By somebody connected to one that was just made."""
        rows = {table: _rows(inside, table) for table in _relations(inside, "r", system=False)}
        sequences = {name: _position(inside, name) for name in _relations(inside, "S", system=False)}
        catalogues = [(name, rows) for name, rows, _ in _catalogues(inside, _now(inside))]
        return cls(catalogues, _one(inside, _IN_PLACE), rows, sequences, _now(inside))

    def restore(self, inside: psycopg.Connection) -> bool:
        """Whether only rows were written; then they are as they were at first."""
        if not self._is_whole(inside):
            return False
        inside.execute(";".join(f"DELETE FROM {table}" for table in self.rows).encode())
        for table, rows in self.rows.items():
            if rows:
                with inside.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
                    copy.write(rows)
        for name, position in self.sequences.items():
            inside.execute("SELECT setval(%s, %s, %s)", [name, *position])
        inside.execute("SELECT pg_stat_reset()")
        self.since = _now(inside)
        return True

    def _is_whole(self, inside: psycopg.Connection) -> bool:
        found = list(_catalogues(inside, self.since))
        return (
            [(name, rows) for name, rows, _ in found] == self.catalogues
            and not any(new for _, _, new in found)
            and _one(inside, _IN_PLACE) == self.in_place
            and int(_one(inside, _LARGEST)) <= _LARGEST_BYTES
        )


def _relations(inside: psycopg.Connection, kind: str, *, system: bool) -> list[str]:
    return [name for (name,) in inside.execute(_RELATIONS, [kind, system])]


def _catalogues(inside: psycopg.Connection, since: str) -> list[tuple[str, int, int]]:
    """Each one's name, its rows, and how many of them are younger than a transaction."""
    counted = (
        f"SELECT '{name}', count(*), count(*) FILTER (WHERE age(xmin) < age('{since}'::xid))"
        f" FROM {name} WHERE {_SHARED.get(name, 'true')}"
        for name in _relations(inside, "r", system=True)
    )
    return inside.execute(" UNION ALL ".join(counted).encode()).fetchall()


def _rows(inside: psycopg.Connection, table: str) -> bytes:
    with inside.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copy:
        return b"".join(copy)


def _position(inside: psycopg.Connection, sequence: str) -> tuple[int, bool]:
    last, called = inside.execute(f"SELECT last_value, is_called FROM {sequence}".encode()).fetchone() or (1, False)
    return last, called


def _now(inside: psycopg.Connection) -> str:
    return _one(inside, "SELECT pg_current_xact_id()::xid")


def _one(inside: psycopg.Connection, query: LiteralString) -> str:
    row = inside.execute(query).fetchone()
    return str(row[0]) if row else ""
