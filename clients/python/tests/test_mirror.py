from datetime import UTC, datetime

from syncserver_client.mirror import Mirror
from syncserver_client.model import Row, RowId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
A = RowId("progress", "a")


def row(key, offset, op="put", **value):
    return Row("progress", key, op, value if op == "put" else None, offset, NOW, "d")


def shown(mirror, *rows):
    mirror.hold(rows, "c")
    return [(c.key, c.op, c.offset) for c in mirror.show(NOW)]


def test_held_rows_are_not_shown():
    mirror = Mirror()
    mirror.hold([row("a", 1)], "c1")
    assert mirror.cursor == "c1"
    assert not mirror.rows


def test_news_come_by_offset_and_only_once():
    mirror = Mirror()
    assert shown(mirror, row("b", 2), row("a", 1)) == [("a", "put", 1), ("b", "put", 2)]
    assert shown(mirror, row("a", 1), row("b", 3)) == [("b", "put", 3)]


def test_an_older_put_does_not_raise_the_dead():
    mirror = Mirror()
    shown(mirror, row("a", 1), row("a", 5, "remove"))
    assert shown(mirror, row("a", 4)) == []
    assert mirror.base(A) == 5


def test_a_refetch_tells_only_what_differs():
    mirror = Mirror()
    shown(mirror, row("same", 1), row("gone", 2), row("other", 3, n=1), row("removed", 4))
    mirror.refetch()
    assert mirror.cursor is None
    mirror.hold([row("same", 1), row("other", 3, n=2)], "c")
    assert len(mirror.rows) == 4
    mirror.hold([row("removed", 9, "remove"), row("never seen", 10, "remove")], "c")
    news = [(c.key, c.op) for c in mirror.show(NOW)]
    assert news == [("gone", "remove"), ("other", "put"), ("removed", "remove")]
    assert {row_id.key for row_id in mirror.rows} == {"same", "other"}


def test_after_a_refetch_smaller_offsets_count():
    mirror = Mirror()
    shown(mirror, row("a", 100))
    mirror.refetch()
    assert shown(mirror, row("a", 1)) == [("a", "put", 1)]
    assert shown(mirror, row("a", 2)) == [("a", "put", 2)]


def test_an_ack_is_the_next_base_until_the_change_comes():
    mirror = Mirror()
    assert mirror.base(A) is None
    mirror.saw(A, 7)
    assert mirror.base(A) == 7
    shown(mirror, row("a", 8))
    mirror.saw(A, 7)
    assert mirror.base(A) == 8
    assert not mirror._acked


def test_synced_at_stays_when_a_step_has_none():
    mirror = Mirror()
    mirror.show(NOW, NOW)
    mirror.show(NOW)
    assert mirror.synced_at == NOW


def test_while_all_is_fetched_again_no_row_counts_as_seen():
    mirror = Mirror()
    told = []
    mirror.lost = lambda: told.append(mirror.cursor)
    shown(mirror, row("a", 7))
    assert mirror.base(A) == 7
    mirror.refetch()
    assert (mirror.base(A), told) == (None, [None])
    assert shown(mirror, row("a", 2)) == [("a", "put", 2)]
    assert mirror.base(A) == 2
