"""The SQL functions and triggers, by plain SQL: what reaches the log, with which stamp, and what is refused."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.harness import Urls, until_locked_out

ADA, BEN = "user:ada", "user:ben"
STAMP = datetime(2026, 3, 1, 8, 15, tzinfo=UTC)
TICK = timedelta(microseconds=1)

SHELVES = """
CREATE TABLE shelves (
  owner text NOT NULL, id {kind} NOT NULL, name text, last_accessed timestamptz, visits int,
  device_id text, updated_at timestamptz NOT NULL, PRIMARY KEY (owner, id));
SELECT sync_track_v4('shelves', 'shelves', 'id', '{{last_accessed,visits}}')
"""


def put(sql: psycopg.Connection, owner: str = ADA, key: str = "moby", **columns: Any) -> None:
    """INSERT or UPDATE one progress row."""
    given = {"owner": owner, "publication_id": key, **columns}
    names, marks = ", ".join(given), ", ".join(["%s"] * len(given))
    sets = ", ".join(f"{name} = excluded.{name}" for name in given)
    sql.execute(
        f"INSERT INTO reading_progress ({names}) VALUES ({marks})"
        f" ON CONFLICT (owner, publication_id) DO UPDATE SET {sets}".encode(),
        list(given.values()),
    )


def log(sql: psycopg.Connection, owner: str = ADA) -> list[tuple[Any, ...]]:
    return sql.execute('SELECT key, "offset", op FROM changes WHERE owner = %s ORDER BY "offset"', [owner]).fetchall()


def heads(sql: psycopg.Connection) -> dict[str, int]:
    return dict(sql.execute("SELECT owner, head FROM channels").fetchall())


def entry(sql: psycopg.Connection, key: str = "moby", owner: str = ADA) -> tuple[Any, ...]:
    row = sql.execute(
        "SELECT op, updated_at, device_id FROM changes WHERE owner = %s AND key = %s", [owner, key]
    ).fetchone()
    assert row is not None
    return row


def stored(sql: psycopg.Connection, columns: str, key: str = "moby") -> tuple[Any, ...]:
    row = sql.execute(f"SELECT {columns} FROM reading_progress WHERE publication_id = %s".encode(), [key]).fetchone()
    assert row is not None
    return row


# -- entries and offsets -----------------------------------------------------


def test_an_insert_an_update_and_a_delete_each_take_the_next_offset_of_one_entry(sql):
    put(sql, percentage=0.1)
    assert log(sql) == [("moby", 1, "put")]
    put(sql, percentage=0.2)
    assert log(sql) == [("moby", 2, "put")]
    sql.execute("DELETE FROM reading_progress")
    assert log(sql) == [("moby", 3, "remove")]
    put(sql)
    assert (log(sql), heads(sql)) == ([("moby", 4, "put")], {ADA: 4})


def test_offsets_are_gapless_for_each_owner(sql):
    sql.execute(
        "INSERT INTO reading_progress (owner, publication_id)"
        " SELECT 'user:' || (i % 3), 'book ' || i FROM generate_series(1, 30) i"
    )
    for owner in ("user:0", "user:1", "user:2"):
        assert [offset for _, offset, _ in log(sql, owner)] == list(range(1, 11))
    assert heads(sql) == {"user:0": 10, "user:1": 10, "user:2": 10}


def test_one_statement_over_many_rows_records_each_of_them(sql):
    for key in ("a", "b", "c"):
        put(sql, key=key)
    sql.execute("UPDATE reading_progress SET percentage = 0.5 WHERE publication_id <> 'b'")
    assert sorted(log(sql)) == [("a", 4, "put"), ("b", 2, "put"), ("c", 5, "put")]


def test_copy_is_a_write_like_any_other(sql):
    with sql.cursor().copy("COPY reading_progress (owner, publication_id, updated_at) FROM STDIN") as copy:
        copy.write_row((ADA, "moby", STAMP))
    assert log(sql) == [("moby", 1, "put")]


def test_an_update_that_changes_nothing_emits_nothing(sql):
    put(sql, percentage=0.1)
    before = stored(sql, "updated_at")
    sql.execute("UPDATE reading_progress SET percentage = percentage, status = 'reading'")
    sql.execute("UPDATE reading_progress SET percentage = 0.9 WHERE publication_id = 'another'")
    assert (log(sql), stored(sql, "updated_at")) == ([("moby", 1, "put")], before)


def test_a_rollback_gives_its_numbers_back(sql):
    put(sql)
    with pytest.raises(errors.DivisionByZero), sql.transaction():  # noqa: PT012 - the transaction is what raises
        put(sql, key="lost")
        put(sql, key="lost too")
        sql.execute("SELECT 1 / 0")
    put(sql, key="next")
    assert log(sql) == [("moby", 1, "put"), ("next", 2, "put")]


def test_a_savepoint_rolled_back_gives_its_numbers_back(sql):
    with sql.transaction():
        put(sql)
        with pytest.raises(errors.DivisionByZero), sql.transaction():  # noqa: PT012 - the transaction is what raises
            put(sql, key="lost")
            sql.execute("SELECT 1 / 0")
        put(sql, key="next")
    assert log(sql) == [("moby", 1, "put"), ("next", 2, "put")]


def test_a_row_that_changes_its_owner_leaves_the_old_channel_and_enters_the_new(sql):
    put(sql, device_id="phone")
    put(sql, BEN, "other")
    sql.execute("UPDATE reading_progress SET owner = %s WHERE owner = %s", [BEN, ADA])
    assert log(sql, ADA) == [("moby", 2, "remove")]
    assert log(sql, BEN) == [("other", 1, "put"), ("moby", 2, "put")]


def test_a_row_that_changes_its_key_leaves_a_removal_of_the_old_one(sql):
    put(sql)
    sql.execute("UPDATE reading_progress SET publication_id = 'dick'")
    assert log(sql) == [("moby", 2, "remove"), ("dick", 3, "put")]


# -- stamps ------------------------------------------------------------------


def test_a_writer_without_a_stamp_gets_one(sql):
    put(sql)
    op, updated_at, device = entry(sql)
    assert (op, device) == ("put", None)
    assert (updated_at,) == stored(sql, "updated_at")
    assert abs(datetime.now(UTC) - updated_at) < timedelta(minutes=1)


def test_an_update_without_a_stamp_gets_one_past_the_rows_last_and_is_no_devices(sql):
    ahead = datetime.now(UTC) + timedelta(days=1)
    put(sql, updated_at=ahead, device_id="phone", device_name="Ada's phone")
    sql.execute("UPDATE reading_progress SET percentage = 0.5")
    assert stored(sql, "updated_at, device_id, device_name") == (ahead + TICK, None, None)
    assert entry(sql) == ("put", ahead + TICK, None)


def test_a_writer_with_a_stamp_and_a_device_keeps_them(sql):
    put(sql, updated_at=STAMP, device_id="phone", device_name="Ada's phone")
    assert entry(sql) == ("put", STAMP, "phone")
    later = STAMP + timedelta(hours=1)
    sql.execute(
        "UPDATE reading_progress SET percentage = 0.5, updated_at = %s, device_id = 'tablet', device_name = 'Tablet'",
        [later],
    )
    assert stored(sql, "updated_at, device_id, device_name") == (later, "tablet", "Tablet")
    assert entry(sql) == ("put", later, "tablet")


def test_a_writer_that_names_a_device_but_no_stamp_keeps_the_device(sql):
    put(sql, updated_at=STAMP, device_id="phone")
    sql.execute("UPDATE reading_progress SET percentage = 0.5, device_id = 'tablet'")
    op, updated_at, device = entry(sql)
    assert (op, device) == ("put", "tablet")
    assert updated_at > STAMP


def test_the_server_stamps_its_own_writes_even_with_the_stamp_that_the_row_has(sql):
    put(sql, updated_at=STAMP, device_id="phone")
    with sql.transaction():
        sql.execute("SELECT set_config('syncserver.stamped', 'on', true)")
        sql.execute("UPDATE reading_progress SET percentage = 0.5")
    assert entry(sql) == ("put", STAMP, "phone")


def test_a_tombstone_carries_a_stamp_past_the_rows_last(sql):
    ahead = datetime.now(UTC) + timedelta(days=1)
    put(sql, updated_at=ahead, device_id="phone")
    sql.execute("DELETE FROM reading_progress")
    assert entry(sql) == ("remove", ahead + TICK, None)


@pytest.mark.parametrize(
    "stamp", ["infinity", "-infinity", "10000-01-01 00:00:00Z", "294276-12-31 00:00:00Z", "0044-03-15 00:00:00Z BC"]
)
def test_a_stamp_that_no_device_could_read_is_refused_with_the_users_own_error(sql, stamp):
    with pytest.raises(errors.CheckViolation, match="updated_at"):
        put(sql, updated_at=stamp)
    put(sql)
    with pytest.raises(errors.CheckViolation, match="updated_at"):
        sql.execute("UPDATE reading_progress SET updated_at = %s", [stamp])
    assert log(sql) == [("moby", 1, "put")]


@pytest.mark.parametrize("stamp", ["0001-01-02 00:00:00Z", "9998-12-31 23:59:59.999999Z"])
def test_every_stamp_that_the_wire_can_carry_is_taken(sql, stamp):
    put(sql, updated_at=stamp)
    sql.execute("UPDATE reading_progress SET percentage = 0.5")
    sql.execute("DELETE FROM reading_progress")
    assert log(sql) == [("moby", 3, "remove")]


# -- tables with other keys, ignored columns, and no more triggers -----------


@pytest.mark.parametrize(
    ("kind", "key"), [("uuid", "0198c0de-0000-7000-8000-000000000001"), ("bigint", "9007199254740993")]
)
def test_a_key_of_another_type_is_its_text_in_the_log(sql, kind, key):
    sql.execute(SHELVES.format(kind=kind))
    sql.execute("INSERT INTO shelves (owner, id) VALUES (%s, %s)", [ADA, key])
    assert log(sql) == [(key, 1, "put")]
    sql.execute("UPDATE shelves SET name = 'Whales'")
    sql.execute("DELETE FROM shelves")
    assert log(sql) == [(key, 3, "remove")]


def test_ignored_columns_emit_nothing_and_are_not_stamped(sql):
    sql.execute(SHELVES.format(kind="bigint"))
    sql.execute("INSERT INTO shelves (owner, id, device_id, updated_at) VALUES (%s, 1, 'phone', %s)", [ADA, STAMP])
    sql.execute("UPDATE shelves SET last_accessed = now(), visits = 3")
    row = sql.execute("SELECT updated_at, device_id, visits FROM shelves").fetchone()
    assert (row, log(sql)) == ((STAMP, "phone", 3), [("1", 1, "put")])


def test_a_change_beside_an_ignored_column_is_stamped_and_recorded(sql):
    sql.execute(SHELVES.format(kind="bigint"))
    sql.execute("INSERT INTO shelves (owner, id, device_id, updated_at) VALUES (%s, 1, 'phone', %s)", [ADA, STAMP])
    sql.execute("UPDATE shelves SET visits = 4, name = 'Whales'")
    op, updated_at, device = entry(sql, "1")
    assert (op, device, log(sql)) == ("put", None, [("1", 2, "put")])
    assert updated_at > STAMP


def test_a_table_of_another_name_needing_quotes_can_be_tracked(sql):
    sql.execute("""
        CREATE TABLE "Reading List" (owner text, "The Key" text, device_id text, updated_at timestamptz NOT NULL,
          PRIMARY KEY (owner, "The Key"));
        SELECT sync_track_v4('"Reading List"', 'reading''list', 'The Key');
        INSERT INTO "Reading List" VALUES ('user:ada', 'moby')
    """)
    assert log(sql) == [("moby", 1, "put")]
    sql.execute("""SELECT sync_untrack_v4('"Reading List"', 'reading''list')""")


def test_a_table_that_is_untracked_writes_to_no_log_and_can_be_tracked_again(sql):
    put(sql)
    sql.execute("SELECT sync_untrack_v4('reading_progress', 'progress')")
    sql.execute("UPDATE reading_progress SET percentage = 0.5")
    sql.execute("INSERT INTO reading_progress (owner, publication_id, updated_at) VALUES ('user:ada', 'b', now())")
    assert log(sql) == [("moby", 1, "put")]
    left = sql.execute("SELECT proname FROM pg_proc WHERE proname LIKE 'sync_capture_progress%'").fetchall()
    assert left == []
    sql.execute("SELECT sync_track_v4('reading_progress', 'progress', 'publication_id')")
    put(sql, percentage=0.6)
    assert log(sql) == [("moby", 2, "put")]


# -- removals ----------------------------------------------------------------


def as_owners(sql: psycopg.Connection, *owners: str) -> None:
    sql.execute("SELECT set_config('syncserver.owners', %s::text[]::text, true)", [list(owners)])


def test_a_tombstone_can_be_given_the_stamp_and_device_of_its_mutation(sql):
    put(sql)
    sql.execute("DELETE FROM reading_progress")
    with sql.transaction():
        as_owners(sql, BEN, ADA)
        sql.execute("SELECT sync_removed_v2(%s, 'progress', 'moby', %s, 'phone')", [ADA, STAMP])
    assert (log(sql), entry(sql)) == ([("moby", 3, "remove")], ("remove", STAMP, "phone"))


_NOT_OURS, _NOT_THERE = errors.InsufficientPrivilege, errors.SerializationFailure


@pytest.mark.parametrize(
    ("named", "key", "error"),
    [
        ([], "gone", _NOT_OURS),
        ([BEN], "gone", _NOT_OURS),
        ([ADA], "moby", _NOT_THERE),
        ([ADA], "never", _NOT_THERE),
        ([ADA, BEN], "Gone", _NOT_THERE),
    ],
)
def test_only_tombstones_of_the_owners_named_may_be_given_a_stamp(sql, named, key, error):
    put(sql)
    put(sql, key="gone")
    sql.execute("DELETE FROM reading_progress WHERE publication_id = 'gone'")
    before = log(sql)
    with pytest.raises(error), sql.transaction():  # noqa: PT012 - the transaction is what raises
        as_owners(sql, *named)
        sql.execute("SELECT sync_removed_v2(%s, 'progress', %s, %s, 'phone')", [ADA, key, STAMP])
    assert log(sql) == before


def test_no_owner_named_at_all_is_no_owner(sql):
    put(sql)
    sql.execute("DELETE FROM reading_progress")
    with pytest.raises(errors.InsufficientPrivilege):
        sql.execute("SELECT sync_removed_v2(%s, 'progress', 'moby', %s, 'phone')", [ADA, STAMP])
    with pytest.raises(errors.InsufficientPrivilege):
        sql.execute("SELECT sync_removed_v2(NULL, 'progress', 'moby', %s, 'phone')", [STAMP])


async def test_a_removal_that_waits_for_the_row_to_come_back_does_not_remove_it(sql, database: Urls):
    put(sql)
    sql.execute("DELETE FROM reading_progress")

    def removed_again() -> None:
        with psycopg.connect(database.owner) as door:
            as_owners(door, ADA)
            door.execute("SELECT sync_removed_v2(%s, 'progress', 'moby', %s, 'phone')", [ADA, STAMP])

    with psycopg.connect(database.owner) as other:
        put(other)
        door = asyncio.create_task(asyncio.to_thread(removed_again))
        await asyncio.to_thread(until_locked_out, sql, "%sync_removed%")
        other.commit()
        with pytest.raises(errors.SerializationFailure):
            await door
    assert log(sql)[-1] == ("moby", 3, "put")


# -- doorbells ---------------------------------------------------------------


def test_a_doorbell_is_the_owner_alone_and_rings_once_a_transaction_and_owner(sql, database: Urls):
    with psycopg.connect(database.server, autocommit=True) as listening:
        listening.execute("LISTEN syncserver")
        with sql.transaction():
            for key in ("a", "b", "c"):
                put(sql, ADA, key)
            put(sql, BEN)
            sql.execute("UPDATE reading_progress SET percentage = 0.5")
        put(sql, BEN, percentage=0.6)
        sql.execute("NOTIFY syncserver, 'the end'")
        heard = [note.payload for note in _until_the_end(listening)]
    assert sorted(heard[:2]) == [ADA, BEN]
    assert heard[2:] == [BEN, "the end"]


def test_a_rollback_rings_nobody(sql, database: Urls):
    with psycopg.connect(database.server, autocommit=True) as listening:
        listening.execute("LISTEN syncserver")
        with pytest.raises(errors.DivisionByZero), sql.transaction():  # noqa: PT012 - the transaction is what raises
            put(sql)
            sql.execute("SELECT 1 / 0")
        sql.execute("NOTIFY syncserver, 'the end'")
        assert [note.payload for note in _until_the_end(listening)] == ["the end"]


def test_the_longest_owner_fits_in_a_doorbell(sql, database: Urls):
    owner = "\N{BOOKS}" * 255
    with psycopg.connect(database.server, autocommit=True) as listening:
        listening.execute("LISTEN syncserver")
        put(sql, owner)
        sql.execute("NOTIFY syncserver, 'the end'")
        assert [note.payload for note in _until_the_end(listening)] == [owner, "the end"]


def _until_the_end(listening: psycopg.Connection) -> list[psycopg.Notify]:
    heard: list[psycopg.Notify] = []
    notes = listening.notifies(timeout=20)
    for note in notes:
        heard.append(note)
        if note.payload == "the end":
            notes.close()
    return heard


# -- what is refused ---------------------------------------------------------


@pytest.mark.parametrize("owner", ["", "o" * 256])
def test_an_owner_that_is_empty_or_too_long_is_refused_with_the_users_own_error(sql, owner):
    with pytest.raises(errors.CheckViolation, match="owner"):
        put(sql, owner)
    assert heads(sql) == {}


@pytest.mark.parametrize("key", ["", "k" * 513])
def test_a_key_that_is_empty_or_too_long_is_refused_with_the_users_own_error(sql, key):
    with pytest.raises(errors.CheckViolation):
        put(sql, key=key)
    assert heads(sql) == {}


def test_the_log_itself_refuses_a_key_that_its_table_lets_through(sql):
    sql.execute(SHELVES.format(kind="text"))
    with pytest.raises(errors.CheckViolation, match="changes"):
        sql.execute("INSERT INTO shelves (owner, id) VALUES (%s, %s)", [ADA, "k" * 513])
    assert heads(sql) == {}


def test_truncate_is_refused_with_advice(sql):
    put(sql)
    with pytest.raises(errors.RaiseException, match="TRUNCATE on reading_progress") as refused:
        sql.execute("TRUNCATE reading_progress")
    assert refused.value.diag.message_hint == "Use DELETE."
    assert stored(sql, "count(*)") == (1,)


# -- furthest ----------------------------------------------------------------


def test_furthest_is_never_behind_percentage_whoever_writes(sql):
    put(sql, percentage=0.4)
    assert stored(sql, "furthest") == (0.4,)
    sql.execute("UPDATE reading_progress SET percentage = 0.1")
    assert stored(sql, "furthest") == (0.4,)
    sql.execute("UPDATE reading_progress SET percentage = 0.8, furthest = 0.2")
    assert stored(sql, "percentage, furthest") == (0.8, 0.8)
    sql.execute("UPDATE reading_progress SET furthest = NULL")
    assert stored(sql, "furthest") == (0.8,)


def test_furthest_may_be_set_back_on_purpose_and_is_empty_without_a_percentage(sql):
    put(sql)
    assert stored(sql, "furthest") == (None,)
    put(sql, percentage=0.4, furthest=0.9)
    sql.execute("UPDATE reading_progress SET furthest = 0.5")
    assert stored(sql, "furthest") == (0.5,)


# -- the epoch ---------------------------------------------------------------


def epoch(sql: psycopg.Connection) -> str:
    row = sql.execute("SELECT sync_epoch_v1()").fetchone()
    assert row is not None
    return str(row[0])


def test_the_epoch_stays_as_long_as_the_cluster_and_its_timeline_do(sql):
    assert epoch(sql) == epoch(sql)
    assert sql.execute("SELECT count(*) FROM epoch").fetchone() == (1,)


@pytest.mark.parametrize("change", ["system_identifier = 'another'", "timeline = timeline - 1"])
def test_another_cluster_or_timeline_is_another_epoch(sql, change):
    first = epoch(sql)
    sql.execute(f"UPDATE epoch SET {change}".encode())
    second = epoch(sql)
    assert second != first
    assert epoch(sql) == second
