"""The checker itself: it lets nothing pass that breaks a rule of the wire."""

from typing import Any

import pytest

from tests.faults.replica import Replica, Seen, Wrong

_STAMP = "2026-11-22T08:15:00.000000Z"


def at(offset: int) -> str:
    return f"e.tag.{offset}"


def row(key: str, offset: int, position: str = "p") -> dict[str, Any]:
    return {
        "key": key,
        "offset": offset,
        "op": "put",
        "updated_at": _STAMP,
        "device_id": "d",
        "data": {"position": position},
    }


@pytest.fixture
def replica() -> Replica:
    found = Replica(Seen())
    found.changes(at(0), at(2), [row("a", 1), row("b", 2)], more=False)
    return found


def test_what_follows_in_order_is_taken(replica: Replica):
    replica.ready(at(2))
    replica.changes(at(2), at(4), [row("a", 4)], more=False)
    replica.ready(at(4))
    assert {key: held[0] for key, held in replica.live().items()} == {"a": 4, "b": 2}
    assert replica.whole == {2: {"a": 1, "b": 2}, 4: {"a": 4, "b": 2}}


@pytest.mark.parametrize(
    ("start", "to", "rows"),
    [
        (at(3), at(4), [row("a", 4)]),
        ("other.tag.2", at(4), [row("a", 4)]),
        (at(2), at(4), [row("a", 4), row("b", 3)]),
        (at(2), at(4), [row("a", 5)]),
        (at(2), at(4), [row("a", 2)]),
        (at(2), at(1), []),
    ],
    ids=["gap", "another epoch", "order", "past its end", "from before its beginning", "backwards"],
)
def test_a_frame_that_breaks_a_rule_is_wrong(replica: Replica, start: str, to: str, rows: list[dict[str, Any]]):
    with pytest.raises(Wrong):
        replica.changes(start, to, rows, more=False)


def test_an_offset_that_was_shown_otherwise_is_wrong(replica: Replica):
    replica.forget()
    with pytest.raises(Wrong, match="offset 1 was"):
        replica.changes(at(0), at(2), [row("a", 1, "another")], more=False)


def test_ready_before_the_rows_is_wrong(replica: Replica):
    with pytest.raises(Wrong):
        replica.ready(at(3))
    replica.changes(at(2), at(4), [row("a", 4)], more=True)
    with pytest.raises(Wrong):
        replica.ready(at(4))


def test_holding_other_rows_at_the_same_ready_is_wrong(replica: Replica):
    replica.ready(at(2))
    replica.forget()
    replica.changes(at(0), at(2), [row("b", 2)], more=False)
    with pytest.raises(Wrong):
        replica.ready(at(2))
