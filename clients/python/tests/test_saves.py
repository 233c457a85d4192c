"""What a session has to save, and what becomes of it when another device wins, or the server says no."""

from datetime import UTC, datetime

import pytest
from syncserver_client.debounce import Debounce
from syncserver_client.difference import Unsayable
from syncserver_client.errors import Rejected
from syncserver_client.model import Row
from syncserver_client.mutation import Ack
from syncserver_client.saves import NODE, Saves, Saving

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HREF = {"href": "1", "type": "t"}


def begun(known=None, pending=()):
    return Saves(known or {}, Debounce(1, 10), pending)


def change(saves, now=0.0, **fields):
    saves.change(fields, now)


def send(saves, name):
    patch = saves.take()
    saves.queued(name, patch)
    return patch


def theirs(offset=9, **fields):
    return Row("reading_sessions", "s", "put", {"status": "active", **fields}, offset, NOW, "tablet")


def lose(saves, name="1", row=None, **more):
    saves.answered(Ack(name, "superseded", row=row or theirs(percentage=0.6), **more))


def status(saves, *, up=True):
    return saves.state(up=up).status


def test_its_state_follows_a_change_to_the_server():
    saves = begun()
    assert status(saves) is Saving.SAVED
    change(saves, percentage=0.1)
    assert status(saves) is Saving.SAVING
    assert send(saves, "1") == {"percentage": 0.1}
    assert status(saves, up=False) is Saving.RETRYING
    assert status(saves) is Saving.SAVING
    saves.answered(Ack("1", "merged", 5))
    assert status(saves) is Saving.SAVED


def test_only_what_differs_from_what_was_queued_goes_out():
    saves = begun({"percentage": 0.1, "state": {"font": "serif", "page": 1}, "status": "active"})
    change(saves, percentage=0.1, state={"font": "serif", "page": 2})
    assert send(saves, "1") == {"state": {"page": 2}}
    change(saves, percentage=0.2, state={"font": "serif", "page": 2})
    assert send(saves, "2") == {"percentage": 0.2}


def test_saying_the_same_again_is_no_change():
    saves = begun({"state": {"page": 1}})
    change(saves, state={"page": 1})
    assert saves.due() is None


def test_there_and_back_is_no_save():
    saves = begun({"percentage": 0.1})
    change(saves, percentage=0.2)
    change(saves, percentage=0.1)
    assert saves.take() is None
    assert status(saves) is Saving.SAVED


def test_what_the_app_does_to_its_own_objects_afterwards_does_not_matter():
    saves, state = begun(), {"page": 1}
    change(saves, state=state)
    state["page"] = 2
    assert saves.take() == {"state": {"page": 1}}


def test_a_place_is_sent_whole():
    saves = begun({"locator": {**HREF, "title": "One", "x": 1}})
    change(saves, locator={**HREF, "title": None, "locations": {"position": 2}})
    locations = {"position": 2, "fragments": None, "progression": None, "totalProgression": None}
    assert saves.take() == {"locator": {**HREF, "title": None, "text": None, "x": None, "locations": locations}}


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_what_is_no_json_is_refused_at_once_and_changes_nothing(value):
    saves = begun()
    with pytest.raises((TypeError, ValueError)):
        change(saves, state={"x": value})
    assert saves.due() is None


def test_a_new_null_is_refused_at_once_and_changes_nothing():
    saves = begun({"state": {"old": None}})
    change(saves, state={"old": None, "page": 1})
    with pytest.raises(Unsayable, match="/state/new"):
        change(saves, state={"old": None, "new": None})
    assert saves.take() == {"state": {"page": 1}}


def test_saves_of_an_earlier_run_are_known():
    saves = begun({"state": {"page": 2}}, [("1", {"state": {"page": 2}}), ("2", {"title": "x", "percentage": 0.2})])
    assert status(saves, up=False) is Saving.RETRYING
    change(saves, percentage=0.2, state={"page": 3})
    assert saves.take() == {"state": {"page": 3}}


def test_a_lost_conflict_shows_the_winner_and_holds_everything_back():
    saves = begun()
    change(saves, percentage=0.3)
    send(saves, "1")
    lose(saves, conflict_id="c")
    state = saves.state(up=True)
    assert (state.status, state.ended, state.conflict_id) == (Saving.CONFLICT, False, "c")
    assert state.row == theirs(percentage=0.6)
    change(saves, percentage=0.4)
    assert saves.due() is None


def test_taking_theirs_gives_up_what_was_not_saved():
    saves = begun()
    change(saves, percentage=0.3)
    send(saves, "1")
    change(saves, state={"page": 3})
    lose(saves)
    assert saves.take_theirs(None) == {"percentage": 0.6}
    assert status(saves) is Saving.SAVED
    assert saves.due() is None
    change(saves, percentage=0.7)
    assert saves.take() == {"percentage": 0.7}


def test_taking_theirs_takes_the_latest_there_is():
    saves = begun()
    change(saves, percentage=0.3)
    send(saves, "1")
    lose(saves)
    assert saves.take_theirs(theirs(8, percentage=0.5)) == {"percentage": 0.6}
    assert saves.take_theirs(theirs(10, percentage=0.7)) == {"percentage": 0.7}


def test_keeping_mine_saves_what_lost_and_what_came_after_over_the_winner():
    saves = begun({"percentage": 0.1, "state": {"page": 1, "font": "serif", "old": 1}, "locator": HREF})
    change(saves, percentage=0.3, state={"page": 3, "font": "serif"})
    send(saves, "1")
    lose(saves, row=theirs(percentage=0.6, state={"page": 6, "font": "sans", "old": 1}, locator={**HREF, "title": "T"}))
    change(saves, active_seconds=7, locator={**HREF, "href": "2"})
    saves.keep_mine(5.0)
    assert saves.due() == 6.0
    patch = send(saves, "2")
    place = patch.pop("locator")
    assert patch == {"percentage": 0.3, "active_seconds": 7, "state": {"page": 3, "old": None}}
    assert (place["href"], place["title"]) == ("2", None)
    saves.answered(Ack("2", "applied", 10))
    assert status(saves) is Saving.SAVED


def test_several_saves_that_lose_are_one_conflict():
    saves = begun({"percentage": 0.1})
    for number in (1, 2, 3):
        change(saves, percentage=number / 10, active_seconds=number)
        send(saves, str(number))
    lose(saves, "1")
    lose(saves, "2", row=theirs(10, percentage=0.7))
    saves.answered(Ack("3", "applied", 11))
    assert saves.state(up=True).row == theirs(10, percentage=0.7)
    saves.keep_mine(0.0)
    assert saves.take() is None, "the last of them won, and has it all"


def lost_twice():
    saves = begun({"percentage": 0.1})
    change(saves, percentage=0.2, state={"page": 1})
    send(saves, "1")
    change(saves, percentage=0.3)
    send(saves, "2")
    lose(saves, "1", row=theirs(9, percentage=0.6, state={"page": 6, "theme": "night"}))
    lose(saves, "2", row=theirs(9, percentage=0.6, state={"page": 6, "theme": "night"}))
    return saves


def test_all_that_lost_is_kept_and_nothing_else_of_theirs_is_touched():
    saves = lost_twice()
    saves.keep_mine(0.0)
    assert saves.take() == {"percentage": 0.3, "state": {"page": 1}}


def test_nothing_that_lost_is_saved_again_by_leaving():
    assert lost_twice().last() is None


def test_leaving_without_a_choice_saves_only_what_no_save_had_said():
    saves = begun({"percentage": 0.1})
    change(saves, percentage=0.3)
    send(saves, "1")
    lose(saves)
    assert saves.last() is None
    change(saves, active_seconds=4)
    assert saves.last() == {"active_seconds": 4}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Ack("1", "superseded", row=theirs(status="completed")), "final"),
        (Ack("1", "duplicate", row=theirs(status="completed")), "final"),
        (Ack("1", "rejected", code="removed"), "removed"),
        (Ack("1", "rejected", code="not_found"), "not_found"),
    ],
)
def test_a_session_that_is_over_takes_no_more_saves(answer, code):
    saves = begun()
    change(saves, percentage=0.3)
    send(saves, "1")
    saves.answered(answer)
    change(saves, percentage=0.4)
    assert (saves.due(), saves.last()) == (None, None)
    assert (saves.state(up=True).ended, saves.state(up=True).code) == (True, code)
    with pytest.raises(Rejected, match=code):
        saves.keep_mine(0.0)
    saves.take_theirs(None)
    change(saves, percentage=0.5)
    assert saves.due() is None
    assert saves.state(up=True).ended


def test_what_is_refused_is_said_once_and_goes_along_with_the_next_change():
    saves = begun({"percentage": 0.1})
    change(saves, percentage=2, active_seconds=1)
    send(saves, "1")
    saves.answered(Ack("1", "rejected", code="invalid", detail="d"))
    assert (status(saves), saves.state(up=True).code, saves.due()) == (Saving.REFUSED, "invalid", None)
    assert saves.last() is None
    change(saves, percentage=0.2)
    assert send(saves, "2") == {"percentage": 0.2, "active_seconds": 1}
    saves.answered(Ack("2", "applied", 3))
    assert status(saves) is Saving.SAVED


def test_answers_to_other_writes_mean_nothing():
    saves = begun()
    saves.answered(Ack("other", "rejected", code="removed"))
    assert status(saves) is Saving.SAVED


# -- nodes -------------------------------------------------------------------


def edited(known=None):
    return Saves(known or {}, Debounce(1, 10), (), NODE)


def node(offset=9, **fields):
    return Row("nodes", "s:N001", "put", {"session_id": "s", "node_id": "N001", **fields}, offset, NOW, "tablet")


WHALE = {"title": "Ahab", "content": "The captain.", "metadata": {"colour": "white", "size": {"x": 1, "y": 2}}}


def test_of_a_node_only_what_differs_goes_out_its_content_whole():
    saves = edited({**WHALE, "node_id": "N001"})
    change(saves, title="Ahab", content="The captain!", metadata={"colour": "white", "size": {"x": 1, "y": 3}})
    assert send(saves, "1") == {"content": "The captain!", "metadata": {"size": {"y": 3}}}


def test_a_new_null_in_a_node_s_metadata_is_refused_at_once():
    saves = edited(WHALE)
    with pytest.raises(Unsayable, match="/metadata/new"):
        change(saves, metadata={"new": None})
    assert saves.due() is None


@pytest.mark.parametrize(
    ("mine", "winner", "resent"),
    [
        ({"title": "Stubb"}, {**WHALE, "content": "Another."}, {"title": "Stubb"}),
        (
            {"metadata": {"colour": "black", "size": {"x": 1, "y": 2}}},
            {**WHALE, "metadata": {"colour": "white", "size": {"x": 7, "y": 2}, "new": 1}},
            {"metadata": {"colour": "black"}},
        ),
        ({"title": "Stubb", "content": "Same."}, {**WHALE, "content": "Same."}, {"title": "Stubb"}),
    ],
)
def test_what_lost_to_a_change_elsewhere_in_the_node_is_saved_again_by_itself(mine, winner, resent):
    saves = edited(WHALE)
    change(saves, **mine)
    send(saves, "1")
    saves.answered(Ack("1", "superseded", row=node(**winner)), 3.0)
    assert (status(saves), saves.due()) == (Saving.SAVING, 4.0)
    assert send(saves, "2") == resent
    saves.answered(Ack("2", "applied", 10), 4.0)
    assert status(saves) is Saving.SAVED


def test_the_same_field_of_a_node_is_a_conflict_that_tells_both_versions_and_what_differs():
    saves = edited(WHALE)
    change(saves, title="Stubb", content="Mine.", metadata={"colour": "white", "size": {"x": 1, "y": 9}})
    send(saves, "1")
    winner = node(**{**WHALE, "title": "Stubb", "content": "Theirs."})
    saves.answered(Ack("1", "superseded", row=winner, conflict_id="c"), 3.0)
    state = saves.state(up=True)
    assert (state.status, state.row, state.conflict_id) == (Saving.CONFLICT, winner, "c")
    assert state.mine == {
        "title": "Stubb",
        "content": "Mine.",
        "metadata": {"colour": "white", "size": {"x": 1, "y": 9}},
    }
    assert state.differs == ("content", "metadata")
    assert saves.due() is None
    saves.keep_mine(5.0)
    assert saves.take() == {"content": "Mine.", "metadata": {"size": {"y": 9}}}


def test_a_conflict_stays_one_whatever_the_other_device_does_next():
    saves = edited(WHALE)
    change(saves, content="Mine.")
    send(saves, "1")
    change(saves, title="Stubb")
    send(saves, "2")
    saves.answered(Ack("1", "superseded", row=node(**{**WHALE, "content": "Theirs."})), 3.0)
    saves.answered(Ack("2", "superseded", row=node(10, **{**WHALE, "content": "Theirs."})), 3.0)
    assert (status(saves), saves.state(up=True).differs) == (Saving.CONFLICT, ("title", "content"))


def test_a_node_that_was_removed_takes_no_more_saves():
    saves = edited(WHALE)
    change(saves, content="Mine.")
    send(saves, "1")
    saves.answered(Ack("1", "rejected", code="removed"), 3.0)
    assert (saves.due(), saves.state(up=True).ended, saves.state(up=True).row) == (None, True, None)


def test_a_reading_session_is_never_joined_by_itself():
    saves = begun({"percentage": 0.1, "state": {"page": 1}})
    change(saves, percentage=0.3)
    send(saves, "1")
    saves.answered(Ack("1", "superseded", row=theirs(percentage=0.1, state={"page": 6})), 3.0)
    assert (status(saves), saves.state(up=True).differs) == (Saving.CONFLICT, ("percentage",))
