"""What may be written of a reading session, and what follows from it: no session outlasts the clock on the wall."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from syncserver import resources
from syncserver.core import clock
from syncserver.resources.reading_sessions import STATE_MAX_BYTES, TITLE_MAX_CHARS, ReadingSession

SESSIONS = resources.catalog()["reading_sessions"]
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LOCATOR: dict[str, Any] = {"href": "chapter1.xhtml", "type": "application/xhtml+xml"}
ID = "0b2f4a3e-9d1c-4f6a-8e57-2c1d3b4a5f60"
Fields = dict[str, Any]


def nested(levels: int) -> Any:
    return json.loads("[" * levels + "]" * levels)


def session(**fields: Any) -> Fields:
    return ReadingSession.model_validate({"publication_id": "moby", **fields}).model_dump(mode="json")


# -- what may be written -----------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"publication_id": ""},
        {"publication_id": None},
        {"publication_id": 5},
        {"publication_id": "m" * 513},
        {"publication_id": "a\nb"},
        {"publication_id": "a\0b"},
        {"publication_id": "a\x85b"},
        {"publication_id": "\ud800"},
        {"title": ""},
        {"title": "x" * (TITLE_MAX_CHARS + 1)},
        {"title": "a\x1bb"},
        {"title": "a\x7fb"},
        {"title": "a\udfffb"},
        {"status": "finished"},
        {"status": None},
        {"started_at": "2026-03-01"},
        {"started_at": "2026-03-01T12:00:00"},
        {"started_at": "2026-02-30T12:00:00Z"},
        {"started_at": "0000-01-01T00:00:00Z"},
        {"started_at": "9999-12-31T23:59:59Z"},
        {"started_at": 1772366400},
        {"last_activity": "yesterday"},
        {"last_activity": "2026-03-01T12:00:00+25:00"},
        {"completed_at": ""},
        {"start_percentage": 1.01},
        {"percentage": -0.01},
        {"percentage": float("nan")},
        {"percentage": float("inf")},
        {"percentage": "0.5"},
        {"percentage": True},
        {"active_seconds": -1},
        {"active_seconds": 1.5},
        {"active_seconds": "60"},
        {"active_seconds": True},
        {"active_seconds": 1_000_000_001},
        {"active_seconds": 2**63},
        {"active_seconds": None},
        {"locator": "chapter1"},
        {"locator": {**LOCATOR, "href": ""}},
        {"start_locator": {"href": "a"}},
        {"resumed_from": "moby"},
        {"resumed_from": f"{{{ID}}}"},
        {"resumed_from": ID.replace("-", "")},
        {"state": "a\0"},
        {"state": {"a\0": 1}},
        {"state": [["a\0"]]},
        {"state": nested(18)},
        {"state": nested(500)},
        {"state": "x" * STATE_MAX_BYTES},
        {"state": {"text": "\u00e4" * (STATE_MAX_BYTES // 2)}},
    ],
    ids=lambda fields: ascii(fields)[:60],
)
def test_a_value_that_is_none_is_refused(fields: Fields):
    with pytest.raises(ValidationError):
        session(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "\ud800"},
        {"state": {"\udc00": 1}},
        {"title": "a\udfff"},
        {"publication_id": "\ud800"},
        {"locator": {**LOCATOR, "title": "\ud800"}},
        {"state": {"at": float("nan")}},
        {"state": {"at": float("-inf")}},
        {"percentage": float("inf")},
    ],
    ids=ascii,
)
def test_what_is_no_text_and_no_number_does_not_come_as_far_as_a_field(fields: Fields):
    """Python's writer makes such JSON; the server's reader takes it for none."""
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(json.dumps(fields))


def test_bounds_are_part_of_what_is_allowed():
    kept = session(
        publication_id="m" * 512,
        title="x" * TITLE_MAX_CHARS,
        percentage=0,
        start_percentage=1,
        active_seconds=1_000_000_000,
        state="x" * (STATE_MAX_BYTES - 2),
    )
    assert (kept["percentage"], kept["start_percentage"], kept["active_seconds"]) == (0.0, 1.0, 1_000_000_000)
    assert session(state=nested(16))["state"] == nested(16)
    title = "\u0412\u043e\u0439\u200d\u043d\u0430 \U0001f40b"
    assert session(title=title)["title"] == title


def test_what_is_left_out_is_that_of_a_session_just_begun():
    kept = session()
    assert (kept["status"], kept["active_seconds"], kept["state"], kept["title"]) == ("active", 0, None, None)


def test_an_id_is_kept_in_small_letters_and_stamps_in_utc():
    kept = session(resumed_from=ID.upper(), started_at="2026-03-01T13:00:00.5+01:00")
    assert (kept["resumed_from"], kept["started_at"]) == (ID, "2026-03-01T12:00:00.500000Z")


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(_json)
def test_whatever_the_reader_app_needs_is_kept_as_it_came(state: Any):
    assert session(state=state)["state"] == state


# -- what follows ------------------------------------------------------------

_moments = st.integers(-7200, 7200).map(lambda seconds: clock.write(NOW + timedelta(seconds=seconds / 2)))
_given = st.sets(st.sampled_from(SESSIONS.fields)).map(frozenset)
_locators = st.none() | st.just(LOCATOR)
_shares = st.none() | st.floats(0, 1)
_fields = st.fixed_dictionaries(
    {
        "publication_id": st.just("moby"),
        "title": st.none(),
        "status": st.sampled_from(["active", "paused", "completed", "abandoned"]),
        "started_at": st.none() | _moments,
        "last_activity": st.none() | _moments,
        "completed_at": st.none() | _moments,
        "start_locator": _locators,
        "start_percentage": _shares,
        "locator": _locators,
        "percentage": _shares,
        "active_seconds": st.integers(0, 10_000),
        "state": st.none(),
        "resumed_from": st.none(),
    }
)


def _lasted_s(fields: Fields) -> float:
    return (clock.read(fields["last_activity"]) - clock.read(fields["started_at"])).total_seconds()


@given(_fields, _given)
def test_no_session_is_longer_than_the_clock_on_the_wall_says(fields: Fields, given_: frozenset[str]):
    whole = SESSIONS.complete(fields, given_, NOW)
    assert 0 <= whole["active_seconds"] <= _lasted_s(whole)
    assert whole["active_seconds"] in {fields["active_seconds"], int(_lasted_s(whole))}


@given(_fields, _given)
def test_a_session_is_completed_at_some_time_if_it_is_completed_and_else_at_none(
    fields: Fields, given_: frozenset[str]
):
    whole = SESSIONS.complete(fields, given_, NOW)
    assert (whole["completed_at"] is not None) is (whole["status"] == "completed")


@given(_fields, _given)
def test_what_follows_once_follows_again(fields: Fields, given_: frozenset[str]):
    whole = SESSIONS.complete(fields, given_, NOW)
    assert SESSIONS.complete(whole, given_, NOW) == whole
    assert SESSIONS.complete(whole, frozenset(), NOW + timedelta(days=1)) == whole


@given(_fields, _given)
def test_a_write_brings_no_moment_that_is_to_come(fields: Fields, given_: frozenset[str]):
    whole = SESSIONS.complete(fields, given_ | {"started_at", "last_activity"}, NOW)
    assert whole["started_at"] <= whole["last_activity"] <= clock.write(NOW)


@given(_fields, _given)
def test_nothing_else_that_was_said_is_changed(fields: Fields, given_: frozenset[str]):
    whole = SESSIONS.complete(dict(fields), given_, NOW)
    assert whole.keys() == fields.keys()
    for name in ("publication_id", "status", "locator", "percentage", "state", "resumed_from"):
        assert whole[name] == fields[name]
    for name in ("start_locator", "start_percentage"):
        assert whole[name] == (fields[name.removeprefix("start_")] if fields[name] is None else fields[name])


@pytest.mark.parametrize("name", ["active_seconds", "locator", "percentage", "state", "status"])
def test_who_reads_is_active_at_the_time_of_the_write(name: str):
    before = session(
        started_at=clock.write(NOW - timedelta(hours=1)), last_activity=clock.write(NOW - timedelta(hours=1))
    )
    assert SESSIONS.complete(before, frozenset([name]), NOW)["last_activity"] == clock.write(NOW)
    assert SESSIONS.complete(before, frozenset(["title"]), NOW)["last_activity"] == before["last_activity"]


def test_a_state_that_is_kept_is_what_a_database_can_hold():
    kept = session(state={"a": ["\x01", "\u2028"], "b": -0.0})["state"]
    assert orjson.loads(orjson.dumps(kept)) == kept
