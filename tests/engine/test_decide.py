"""One mutation against a row, without a database: what is read, what is meant, what is answered."""

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver import resources
from syncserver.core.actor import Device
from syncserver.core.errors import Invalid, NotFound, Removed, SyncError, TooLarge
from syncserver.core.resolver import Policy, Reason
from syncserver.engine import decide as engine
from syncserver.engine.decide import Current, Item, Sender
from syncserver.storage.changes import Entry
from syncserver.storage.rows import Stored

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CATALOG = resources.catalog()
PROGRESS = CATALOG["progress"]
PHONE = Sender("user:ada", Device("phone", "Ada's phone"), "client")
EMPTY = dict.fromkeys(PROGRESS.fields) | {"status": "reading"}
Raw = dict[str, Any]


def raw(op: str = "put", minutes: float = 0, **changed: Any) -> Raw:
    made = {
        "mutation_id": str(uuid4()),
        "resource": "progress",
        "key": "moby",
        "op": op,
        "data": None if op == "remove" else {"percentage": 0.5},
        "updated_at": (NOW + timedelta(minutes=minutes)).isoformat(),
    }
    return made | changed


def item(op: str = "put", minutes: float = 0, **changed: Any) -> Item:
    return engine.read(PHONE, raw(op, minutes, **changed), CATALOG, NOW)


def current(percentage: float = 0.25, minutes: float = -60, device: str | None = "tablet", **fields: Any) -> Current:
    at = NOW + timedelta(minutes=minutes)
    whole = EMPTY | {"percentage": percentage, "furthest": percentage} | fields
    stored = Stored(orjson.dumps({**whole, "publication_id": "moby"}).decode(), whole, at, device, "Ada's tablet")
    return Current(Entry("user:ada", "progress", "moby", 7, "put", at, device), stored)


def removed(minutes: float = -60) -> Current:
    at = NOW + timedelta(minutes=minutes)
    return Current(Entry("user:ada", "progress", "moby", 9, "remove", at, "tablet"), None)


# -- read --------------------------------------------------------------------


def test_a_put_is_read_with_its_place_its_name_and_all_fields():
    found = item(data={"percentage": 0.5, "unheard_of": 1})
    assert found.place == ("user:ada", "progress", "moby")
    assert found.name == ("user:ada", "client", found.mutation.mutation_id)
    assert found.fields == EMPTY | {"percentage": 0.5, "furthest": 0.5}
    assert found.stamp == NOW


def test_a_patch_or_a_removal_has_no_fields_of_its_own():
    assert item("patch").fields is None
    assert item("remove").fields is None


@given(st.datetimes(datetime(1, 2, 1), datetime(9998, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - bounds
def test_a_stamp_is_never_later_than_two_seconds_from_now(at: datetime):
    found = item(updated_at=at.isoformat())
    assert found.stamp == min(at, NOW + timedelta(seconds=2))


def test_a_mutation_without_a_stamp_is_of_now():
    assert item(updated_at=None).stamp == NOW


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"mutation_id": "1"}, Invalid),
        ({"resource": "gooseberries"}, NotFound),
        ({"key": "k" * 513}, TooLarge),
        ({"key": 7}, Invalid),
        ({"data": None}, Invalid),
        ({"data": []}, Invalid),
        ({"data": {"percentage": float("nan")}}, Invalid),
        ({"data": {"percentage": True}}, Invalid),
        ({"data": {"furthest": -0.1}}, Invalid),
        ({"data": {"position_kind": "line"}}, Invalid),
        ({"data": {"position": "x" * 4097}}, TooLarge),
        ({"data": {"locator": {"href": "", "type": "a/b"}}}, Invalid),
        ({"data": {"locator": {"href": "/", "type": "a/b", "more": ["\0"]}}}, Invalid),
        ({"data": {"locator": {"href": "/", "type": "a/b", "more": "x" * 40_000}}}, Invalid),
        ({"op": "increment"}, Invalid),
        ({"policy": "latest"}, Invalid),
        ({"base": "7"}, Invalid),
        ({"updated_at": 1772366400}, Invalid),
    ],
)
def test_a_wrong_mutation_is_refused_with_what_is_wrong(changed: Raw, kind: type[SyncError]):
    with pytest.raises(SyncError) as error:
        engine.read(PHONE, raw(**changed), CATALOG, NOW)
    assert type(error.value) is kind
    assert error.value.detail


def test_an_error_says_where_and_repeats_no_value():
    with pytest.raises(Invalid) as error:
        item(data={"percentage": 77.5, "locator": {"href": "/goose", "type": 1}})
    assert {e["pointer"] for e in error.value.errors} == {"/data/percentage", "/data/locator/type"}
    assert "77.5" not in error.value.detail
    assert "goose" not in error.value.detail


@given(
    st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text() | st.lists(st.integers()), max_size=5)
)
def test_anything_at_all_is_an_item_or_an_error_of_ours(given_: Raw):
    for proposed in (raw() | given_, raw(data=given_)):
        with contextlib.suppress(SyncError):
            assert engine.read(PHONE, proposed, CATALOG, NOW).place[0] == "user:ada"


# -- decide ------------------------------------------------------------------


def test_the_first_write_of_a_row_is_accepted():
    decision = engine.decide(item(), None)
    assert (decision.resolution.reason, decision.conflict) == (Reason.FIRST, None)


def test_a_write_that_knew_the_row_is_no_conflict():
    decision = engine.decide(item(minutes=-90, base=7), current())
    assert (decision.resolution.reason, decision.conflict) == (Reason.BASE, None)
    assert decision.resolution.version.updated_at == current().entry.updated_at + timedelta(microseconds=1)


@pytest.mark.parametrize(("minutes", "winner", "loser"), [(0, 0.5, 0.25), (-90, 0.25, 0.5)])
def test_a_conflict_holds_winner_and_loser(minutes: float, winner: float, loser: float):
    decision = engine.decide(item(minutes=minutes), current())
    conflict = decision.conflict
    assert conflict is not None
    assert (conflict.owner, conflict.resource, conflict.key) == ("user:ada", "progress", "moby")
    assert (conflict.policy, conflict.reason) == (Policy.LAST_WRITE_WINS, Reason.UPDATED_AT)
    assert (conflict.winner.fields or {})["percentage"] == winner
    assert (conflict.loser.fields or {})["percentage"] == loser


def test_two_writes_of_one_device_are_no_conflict():
    decision = engine.decide(item(minutes=-90), current(device="phone"))
    assert (decision.resolution.accepted, decision.conflict) == (False, None)


def test_the_mutations_policy_goes_before_the_resources():
    assert engine.decide(item(policy="server-wins"), current()).resolution.reason is Reason.SERVER_WINS
    assert engine.decide(item(minutes=-90, policy="client-wins"), current()).resolution.reason is Reason.CLIENT_WINS


def test_a_row_written_by_no_device_can_be_judged():
    assert engine.decide(item(), current(device=None)).resolution.accepted


@pytest.mark.parametrize("op", ["patch", "remove"])
def test_what_never_was_cannot_be_patched_or_removed(op: str):
    with pytest.raises(NotFound):
        engine.decide(item(op), None)


def test_what_was_removed_can_be_put_or_removed_but_not_patched():
    with pytest.raises(Removed):
        engine.decide(item("patch"), removed())
    assert engine.decide(item("put"), removed()).resolution.accepted
    assert engine.decide(item("remove"), removed()).resolution.version.fields is None
    assert not engine.decide(item("put", minutes=-90), removed()).resolution.accepted


def test_a_patch_is_judged_as_the_whole_row_that_it_makes():
    decision = engine.decide(item("patch", data={"position": "12"}), current(series_id="novels"))
    assert decision.resolution.version.fields == EMPTY | {
        "percentage": 0.25,
        "furthest": 0.25,
        "series_id": "novels",
        "position": "12",
    }


def test_a_patch_that_makes_the_row_wrong_is_invalid():
    with pytest.raises(Invalid):
        engine.decide(item("patch", data={"locator": {"title": "no href"}}), current())


def test_a_patch_may_make_any_field_empty_that_may_be_empty():
    decision = engine.decide(item("patch", data={"series_id": None}), current(series_id="novels"))
    assert (decision.resolution.version.fields or {})["series_id"] is None


def test_only_who_sets_furthest_on_purpose_and_knows_the_row_sets_it_back():
    back = {"percentage": 0.1, "furthest": 0.1}
    knows = engine.decide(item("patch", data=back, base=7), current(0.9))
    unaware = engine.decide(item("patch", data=back), current(0.9))
    by_the_way = engine.decide(item("patch", data={"percentage": 0.1}, base=7), current(0.9))
    found = [(d.resolution.version.fields or {})["furthest"] for d in (knows, unaware, by_the_way)]
    assert found == [0.1, 0.9, 0.9]


# -- answers -----------------------------------------------------------------


def test_an_accepted_write_is_answered_with_its_offset():
    write = item()
    ack = engine.decide(write, None).ack(current(minutes=0))
    assert ack == {"mutation_id": write.mutation.mutation_id, "status": "applied", "offset": 7}


def test_a_write_whose_stamp_was_changed_is_told_which_it_got():
    decision = engine.decide(item(), None)
    assert decision.ack(current())["updated_at"] == "2026-03-01T11:00:00.000000Z"
    assert decision.claimed_at(current()) == decision.item.mutation.updated_at


def test_a_write_that_took_something_from_the_loser_is_merged():
    decision = engine.decide(item(data={"percentage": 0.1}), current(0.9))
    ack = decision.ack(current(0.1, furthest=0.9))
    assert decision.conflict is not None
    assert (ack["status"], ack["conflict_id"]) == ("merged", decision.conflict.id)


def test_a_superseded_write_is_answered_with_the_row_that_won():
    ack = engine.decide(item(minutes=-90), current()).ack(current())
    row = orjson.loads(orjson.dumps(ack["row"]))
    assert ack["status"] == "superseded"
    assert row.pop("data")["percentage"] == 0.25
    assert row == {
        "resource": "progress",
        "key": "moby",
        "offset": 7,
        "op": "put",
        "device_id": "tablet",
        "updated_at": "2026-03-01T11:00:00.000000Z",
    }


def test_a_tombstone_that_won_is_shown_without_a_state():
    ack = engine.decide(item(minutes=-90), removed()).ack(removed())
    assert (ack["row"]["op"], ack["row"]["data"]) == ("remove", None)


def test_a_rejection_has_a_code_and_the_id_only_if_it_could_be_one():
    error = NotFound("There is no such row.")
    assert engine.rejected("x", error) == {
        "mutation_id": "x",
        "status": "rejected",
        "code": "not_found",
        "detail": "There is no such row.",
    }
    assert [engine.rejected(name, error)["mutation_id"] for name in (7, None, "x" * 65, ["x"])] == [None] * 4


def test_a_duplicate_is_the_first_answer_but_for_its_status():
    first = {"mutation_id": "x", "status": "applied", "offset": 7}
    assert engine.duplicate(first) == {"mutation_id": "x", "status": "duplicate", "offset": 7}
    assert first["status"] == "applied"
