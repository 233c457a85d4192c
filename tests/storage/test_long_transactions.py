"""Many rows in one transaction: numbers from memory, the head raised once, and always as if each row raised it."""

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness import Urls, until_locked_out

ADA, BEN, EVE = "user:ada", "user:ben", 'user:"eve", {mad}\\ '
PUT = (
    "INSERT INTO reading_progress (owner, publication_id, device_id) VALUES (%s, %s, %s)"
    " ON CONFLICT (owner, publication_id) DO UPDATE SET device_id = excluded.device_id, updated_at = clock_timestamp()"
)
MANY = "INSERT INTO reading_progress (owner, publication_id) SELECT %s, 'one of ' || n FROM generate_series(1, %s) AS n"
Log = dict[str, list[tuple[str, int, str]]]


def raised(sql: psycopg.Connection) -> int:
    """How often a channel's row was written anew by this connection, lately: only differences mean anything."""
    found = sql.execute("SELECT n_tup_upd FROM pg_stat_xact_user_tables WHERE relname = 'channels'").fetchone()
    return found[0] if found else 0


def log(sql: psycopg.Connection) -> Log:
    found: Log = {}
    for owner, *entry in sql.execute('SELECT owner, key, "offset", op FROM changes ORDER BY owner, "offset"'):
        found.setdefault(owner, []).append(tuple(entry))
    return found


def heads(sql: psycopg.Connection) -> dict[str, int]:
    return dict(sql.execute("SELECT owner, head FROM channels").fetchall())


def test_a_thousand_rows_raise_the_head_once(sql: psycopg.Connection):
    with sql.transaction():
        before = raised(sql)
        for number in range(500):
            sql.execute(PUT, [ADA, f"book {number}", "phone"])
        sql.execute(MANY, [ADA, 500])
        assert raised(sql) == before
        sql.execute("SET CONSTRAINTS ALL IMMEDIATE")
        assert (raised(sql) - before, heads(sql)) == (1, {ADA: 1000})
    assert [offset for _, offset, _ in log(sql)[ADA]] == list(range(1, 1001))


def test_rows_that_change_hands_raise_each_head_once(sql: psycopg.Connection):
    sql.execute(MANY, [BEN, 300])
    with sql.transaction():
        before = raised(sql)
        sql.execute("UPDATE reading_progress SET owner = %s", [ADA])
        assert raised(sql) - before == 1, "of the owner that had a channel"
    assert heads(sql) == {ADA: 300, BEN: 600}
    assert {op for _, _, op in log(sql)[BEN]} == {"remove"}


def test_what_a_trigger_writes_when_constraints_are_looked_at_counts_too(sql: psycopg.Connection):
    sql.execute("""
        CREATE FUNCTION echo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          INSERT INTO reading_progress (owner, publication_id)
            SELECT new.owner, new.publication_id || n FROM generate_series(1, 3) AS n;
          RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER zz_echo AFTER INSERT ON reading_progress DEFERRABLE INITIALLY DEFERRED
          FOR EACH ROW WHEN (length(new.publication_id) = 1) EXECUTE FUNCTION echo();
    """)
    with sql.transaction():
        sql.execute(PUT, [ADA, "a", "phone"])
        sql.execute(PUT, [ADA, "b", "phone"])
    assert heads(sql) == {ADA: 8}
    assert [offset for _, offset, _ in log(sql)[ADA]] == list(range(1, 9))


def test_the_next_writer_waits_for_the_last_number(database: Urls, sql: psycopg.Connection):
    with psycopg.connect(database.owner) as first, ThreadPoolExecutor() as pool:
        first.execute(MANY, [ADA, 5])
        with psycopg.connect(database.owner, autocommit=True) as second:
            late = pool.submit(second.execute, PUT, [ADA, "late", "tablet"])
            until_locked_out(sql, "INSERT INTO%ON CONFLICT%")
            first.commit()
            late.result()
    assert log(sql)[ADA][-1] == ("late", 6, "put")


# -- the law -----------------------------------------------------------------

_WRITES = st.tuples(st.just("put"), st.sampled_from([ADA, BEN, EVE]), st.sampled_from("abcd"))
_REMOVALS = st.tuples(st.just("remove"), st.sampled_from([ADA, BEN, EVE]), st.sampled_from("abcd"))
_STEPS = st.lists(
    _WRITES
    | _REMOVALS
    | st.tuples(
        st.sampled_from(
            ["savepoint", "release", "rollback to", "immediate", "deferred", "commit", "rollback", "many", "one by one"]
        )
    ),
    max_size=40,
)


class Plain:
    """What the log would be if each row raised the head by itself."""

    def __init__(self) -> None:
        self.log: dict[str, dict[str, tuple[int, str]]] = {}
        self.heads: dict[str, int] = {}

    def record(self, op: str, owner: str, key: str) -> None:
        there = self.log.get(owner, {}).get(key)
        if op == "remove" and (there is None or there[1] == "remove"):
            return
        self.heads[owner] = self.heads.get(owner, 0) + 1
        self.log.setdefault(owner, {})[key] = (self.heads[owner], op)

    def told(self) -> Log:
        return {
            owner: sorted(((key, *entry) for key, entry in rows.items()), key=lambda entry: entry[1])
            for owner, rows in self.log.items()
        }


class Run:
    """Steps in transactions, on a connection and on paper."""

    def __init__(self, sql: psycopg.Connection) -> None:
        self.sql = sql
        self.kept = Plain()
        self.now = Plain()
        self.saved: list[Plain] = []

    def step(self, step: tuple[Any, ...]) -> None:
        name, *given_ = step
        if name == "put":
            self.sql.execute(PUT, [*given_, "phone"])
            self.now.record(name, *given_)
        elif name == "remove":
            self.sql.execute("DELETE FROM reading_progress WHERE owner = %s AND publication_id = %s", given_)
            self.now.record(name, *given_)
        elif name in {"immediate", "deferred"}:
            self.sql.execute(f"SET CONSTRAINTS ALL {name}".encode())
        elif name in {"many", "one by one"}:
            self.sql.execute("SELECT set_config('syncserver.many', %s, true)", ["on" if name == "many" else "off"])
        elif name in {"commit", "rollback"}:
            self.end(name)
        elif name == "savepoint":
            self.saved.append(copy.deepcopy(self.now))
            self.sql.execute(f"SAVEPOINT s{len(self.saved)}".encode())
        elif self.saved:
            self.sql.execute(f"{name} SAVEPOINT s{len(self.saved)}".encode())
            self.now = copy.deepcopy(self.saved[-1]) if name == "rollback to" else self.now
            if name == "release":
                self.saved.pop()

    def end(self, how: str) -> None:
        self.sql.execute(how.encode())
        if how == "commit":
            self.kept = self.now
        self.now = copy.deepcopy(self.kept)
        self.saved.clear()
        assert (log(self.sql), heads(self.sql)) == (self.kept.told(), self.kept.heads)
        self.sql.rollback()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_STEPS)
def test_whatever_a_transaction_does_the_log_is_as_if_each_row_raised_the_head(database: Urls, steps: list[Any]):
    with psycopg.connect(database.owner) as sql:
        sql.execute("SET session_replication_role = replica")
        sql.execute("DELETE FROM reading_progress")
        sql.execute("DELETE FROM changes")
        sql.execute("DELETE FROM channels")
        sql.execute("SET session_replication_role = origin")
        sql.commit()
        run = Run(sql)
        for step in steps:
            run.step(step)
        run.end("commit")
