"""Own writes over the mirror: what an app sees, and that it never jumps back over a write's own echo."""

from datetime import UTC, datetime

from syncserver_client.mirror import Mirror
from syncserver_client.model import Row, RowId
from syncserver_client.mutation import Ack
from syncserver_client.overlay import Layer, merged
from syncserver_client.shown import Shown

NOW = datetime(2026, 1, 1, tzinfo=UTC)
A = RowId("progress", "a")


def row(offset, value=None, device="tablet"):
    return Row("progress", "a", "put" if value is not None else "remove", value, offset, NOW, device)


def write(shown, name, op="put", **value):
    return shown.write(Layer(name, A, op, value, NOW, "phone"), NOW)


def arrives(shown, *rows, synced_at=None):
    shown.hold(rows, "c")
    return [(c.op, c.value, c.offset, c.pending) for c in shown.show(NOW, synced_at)]


def ack(name, status="applied", offset=None, winner=None):
    return Ack(name, status, offset, winner)


def value(shown):
    return shown.shown[A].value if A in shown.shown else None


def test_a_write_shows_at_once_and_stays_until_its_echo():
    shown = Shown()
    arrives(shown, row(1, {"n": 1}))
    (change,) = write(shown, "m", n=2)
    assert (change.value, change.offset, change.pending, change.device_id) == ({"n": 2}, 1, True, "phone")
    assert shown.rows[A].value == {"n": 1}
    assert shown.answered(ack("m", offset=5), NOW) == ()
    assert value(shown) == {"n": 2}
    assert arrives(shown, row(5, {"n": 2, "whole": True})) == [("put", {"n": 2, "whole": True}, 5, False)]
    assert not shown.waits("m")


def test_a_refused_write_goes_back_to_what_the_server_has():
    shown = Shown()
    arrives(shown, row(1, {"n": 1}))
    write(shown, "m", n=2)
    (change,) = shown.answered(ack("m", "rejected"), NOW)
    assert (change.value, change.offset, change.pending) == ({"n": 1}, 1, False)


def test_a_refused_first_write_leaves_nothing():
    shown = Shown()
    write(shown, "m", n=2)
    (change,) = shown.answered(ack("m", "rejected"), NOW)
    assert (change.op, change.pending) == ("remove", False)
    assert not shown.shown


def test_the_winner_shows_at_once_and_is_told_again_when_it_arrives():
    shown = Shown()
    write(shown, "m", n=2)
    (change,) = shown.answered(ack("m", "superseded", winner=row(7, {"n": 9})), NOW)
    assert (change.value, change.device_id, change.pending) == ({"n": 9}, "tablet", True)
    assert arrives(shown, row(7, {"n": 9})) == [("put", {"n": 9}, 7, False)]


def test_a_foreign_change_does_not_show_through_a_write_that_waits():
    shown = Shown()
    arrives(shown, row(1, {"n": 1, "other": 1}))
    write(shown, "m", "patch", n=2)
    assert arrives(shown, row(6, {"n": 8, "other": 8})) == [("put", {"n": 2, "other": 8}, 6, True)]
    write(shown, "m2", n=3)
    assert arrives(shown, row(7, {"n": 9})) == []
    assert value(shown) == {"n": 3}


def test_several_writes_lie_in_order():
    shown = Shown()
    write(shown, "1", n=1, m=1)
    write(shown, "2", "patch", n=2)
    write(shown, "3", "remove")
    assert value(shown) is None
    shown.answered(ack("3", "rejected"), NOW)
    assert value(shown) == {"n": 2, "m": 1}
    shown.answered(ack("1", "rejected"), NOW)
    assert value(shown) is None  # a patch of nothing


def test_one_that_is_done_stays_while_one_below_it_waits():
    shown = Shown()
    write(shown, "1", n=1)
    write(shown, "2", n=2)
    shown.answered(ack("2", offset=5), NOW)
    arrives(shown, row(5, {"n": 2}))
    assert value(shown) == {"n": 2}
    shown.answered(ack("1", "superseded", winner=row(5, {"n": 2})), NOW)
    assert value(shown) == {"n": 2}
    assert not shown.shown[A].pending


def test_what_was_acked_before_a_catch_up_is_settled_by_its_end():
    shown = Shown()
    write(shown, "early", n=1)
    shown.answered(ack("early", offset=100), NOW)
    shown.begin()
    write(shown, "late", "patch", m=1)
    shown.answered(ack("late", offset=101), NOW)
    shown.refetch()
    arrives(shown, row(3, {"n": 0}), synced_at=NOW)  # an older log: the early write is not in it
    assert value(shown) == {"n": 0, "m": 1}


def test_the_same_write_sent_again_is_not_shown_again():
    shown = Shown()
    write(shown, "m", n=1)
    shown.answered(ack("m", offset=1), NOW)
    arrives(shown, row(1, {"n": 1}), row(2, {"n": 2}))
    assert write(shown, "m", n=1) == ()
    assert value(shown) == {"n": 2}


def test_what_nobody_sends_any_more_is_not_shown_any_more():
    shown = Shown()
    write(shown, "m", n=1)
    (change,) = shown.forget("m", NOW)
    assert change.op == "remove"


def test_without_writes_it_is_a_mirror():
    plain, shown = Mirror(), Shown()
    for one in (plain, shown):
        one.hold([row(1, {"n": 1})], "c")
    assert plain.show(NOW) == shown.show(NOW)
    assert plain.shown == shown.shown


def test_a_patch_is_merged_but_a_null_at_the_top_empties_a_field_that_is_there():
    whole = {"a": 1, "deep": {"x": 1, "y": 2}, "b": None}
    patch = {"a": None, "new": None, "deep": {"x": None, "z": {"q": None, "r": 1}}, "list": [None]}
    assert merged(whole, patch) == {"a": None, "b": None, "deep": {"y": 2, "z": {"r": 1}}, "list": [None]}
