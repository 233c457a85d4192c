"""Rows that are logged by statement rather than one by one: the same log, with one look at each channel."""

import psycopg
import pytest

from syncserver import resources
from tests.harness import Urls
from tests.storage.test_long_transactions import ADA, BEN, heads, log, raised

UPSERT = """
    INSERT INTO reading_progress (owner, publication_id, percentage) SELECT owner, key, share
    FROM unnest(%s::text[], %s::text[], %s::float8[]) AS r (owner, key, share)
    ON CONFLICT (owner, publication_id) DO UPDATE SET percentage = excluded.percentage
"""


@pytest.fixture
def many(database: Urls):
    """Somebody at psql whose transactions log many rows at once."""
    with psycopg.connect(database.owner, autocommit=True, options="-c syncserver.many=on") as connection:
        yield connection


def upsert(sql: psycopg.Connection, *rows: tuple[str, str, float]) -> None:
    sql.execute(UPSERT, [list(column) for column in zip(*rows, strict=True)])


def test_new_and_changed_rows_of_many_owners_are_logged_in_order_of_their_keys(many: psycopg.Connection):
    upsert(many, (BEN, "b", 0.1), (ADA, "c", 0.1), (ADA, "a", 0.1))
    assert log(many) == {ADA: [("a", 1, "put"), ("c", 2, "put")], BEN: [("b", 1, "put")]}
    upsert(many, (ADA, "c", 0.2), (ADA, "a", 0.2), (BEN, "b", 0.1), (BEN, "new", 0.2))
    assert log(many) == {ADA: [("a", 3, "put"), ("c", 4, "put")], BEN: [("b", 1, "put"), ("new", 2, "put")]}
    assert heads(many) == {ADA: 4, BEN: 2}


def test_each_head_is_raised_once_and_each_owner_s_bell_rings(many: psycopg.Connection, sql: psycopg.Connection):
    upsert(many, (ADA, "a", 0.1), (BEN, "a", 0.1))
    sql.execute("LISTEN syncserver")
    with many.transaction():
        before = raised(many)
        upsert(many, *[(owner, f"k{number}", 0.5) for owner in (ADA, BEN) for number in range(50)])
        assert raised(many) - before == 2
    rung = sorted(bell.payload for bell in sql.notifies(timeout=30, stop_after=2))
    assert rung == [ADA, BEN]


def test_a_removed_row_that_comes_back_is_no_removal_any_more(many: psycopg.Connection):
    upsert(many, (ADA, "a", 0.1), (ADA, "b", 0.1))
    many.execute("DELETE FROM reading_progress WHERE publication_id = 'a'")
    assert log(many)[ADA] == [("b", 2, "put"), ("a", 3, "remove")]
    upsert(many, (ADA, "a", 0.3))
    assert log(many)[ADA][-1] == ("a", 4, "put")
    assert many.execute("SELECT count(*) FROM changes WHERE removed_at IS NOT NULL").fetchone() == (0,)


@pytest.mark.parametrize("change", ["owner = 'user:ben'", "publication_id = 'another'"])
def test_a_row_cannot_change_hands_or_name_and_nothing_of_it_is_kept(many: psycopg.Connection, change: str):
    upsert(many, (ADA, "a", 0.1))
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="changes its owner or key"):
        many.execute(f"UPDATE reading_progress SET {change}".encode())
    assert (log(many), heads(many)) == ({ADA: [("a", 1, "put")]}, {ADA: 1})


def test_it_goes_on_from_what_was_counted_row_by_row_and_is_gone_on_from(sql: psycopg.Connection):
    with sql.transaction():
        for number in range(3):
            upsert(sql, (ADA, f"row {number}", 0.1))
        sql.execute("SET LOCAL syncserver.many = on")
        upsert(sql, (ADA, "s", 0.1), (ADA, "t", 0.1))
        sql.execute("SET LOCAL syncserver.many = off")
        upsert(sql, (ADA, "u", 0.1))
        upsert(sql, (ADA, "v", 0.1))
    assert [offset for _, offset, _ in log(sql)[ADA]] == list(range(1, 8))
    assert heads(sql) == {ADA: 7}


@pytest.mark.parametrize("name", sorted(set(resources.catalog()) - {"sessions", "anonymous_sessions"}))
def test_every_resource_that_is_pushed_has_both_ways(sql: psycopg.Connection, name: str):
    found = sql.execute(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname LIKE 'sync_capture%%' ORDER BY 1",
        [resources.catalog()[name].table.name],
    )
    names = [row[0] for row in found]
    assert names == ["sync_capture", "sync_capture_changed", "sync_capture_gone", "sync_capture_new"]
