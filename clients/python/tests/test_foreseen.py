"""What shows of an action before the server has answered it."""

from datetime import UTC, datetime

import pytest
from syncserver_client import foreseen
from syncserver_client.model import Row, RowId
from syncserver_client.mutation import Ack, Mutation
from syncserver_client.overlay import Layer
from syncserver_client.shown import Shown

NOW = datetime(2026, 1, 1, tzinfo=UTC)
S = RowId("reading_sessions", "s")


def session(**fields):
    return Row(*S, "put", {"publication_id": "p", "status": "active", **fields}, 1, NOW, "tablet")


@pytest.mark.parametrize(
    ("action", "status"),
    [("pause", "paused"), ("resume", "active"), ("abandon", "abandoned"), ("complete", "completed")],
)
def test_an_action_shows_its_status_on_the_row_as_it_is(action, status):
    shown = Shown()
    shown.hold([session(state={"page": 1})], "c")
    shown.show(NOW)
    outcome = foreseen.write(Mutation(action, *S), shown.shown)
    assert outcome is not None
    shown.write(Layer("m", S, *outcome, NOW, "phone"), NOW)
    row = shown.shown[S]
    assert (row.value, row.pending) == ({"publication_id": "p", "status": status, "state": {"page": 1}}, True)
    shown.answered(Ack("m", "rejected"), NOW)
    assert shown.shown[S] == session(state={"page": 1})


def test_what_comes_with_an_action_shows_too():
    assert foreseen.write(Mutation("pause", *S, {"percentage": 0.5}), {}) == (
        "patch",
        {"percentage": 0.5, "status": "paused"},
    )


def test_of_other_actions_nothing_is_foreseen():
    assert foreseen.write(Mutation("extend", *S), {}) is None
    assert foreseen.write(Mutation("pause", "progress", "p"), {}) is None


def test_a_session_that_goes_on_from_another_shows_where_that_was_left():
    rows = {S: session(title="T", state={"page": 7}, percentage=0.5, active_seconds=90)}
    op, value = foreseen.write(Mutation("put", S.resource, "n", {"resumed_from": "s", "percentage": 0.6}), rows) or (
        "",
        {},
    )
    assert op == "put"
    assert value == {"status": "active", "title": "T", "state": {"page": 7}, "percentage": 0.6, "resumed_from": "s"}


def test_other_writes_show_as_they_are():
    assert foreseen.write(Mutation("put", "progress", "p", {"percentage": 1}), {}) == ("put", {"percentage": 1})
    assert foreseen.write(Mutation("remove", *S), {}) == ("remove", None)
