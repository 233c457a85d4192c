import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from syncserver import resources
from syncserver.core.locator import LOCATOR_MAX_BYTES
from syncserver.resources.progress import POSITION_MAX_CHARS, Progress

PROGRESS = resources.catalog()["progress"]
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LOCATOR: dict[str, Any] = {"href": "chapter1.xhtml", "type": "application/xhtml+xml"}


def nested(levels: int) -> Any:
    return json.loads("[" * levels + "]" * levels)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200))
def test_any_position_without_nul_is_kept_as_it_is(position: str):
    assert Progress.model_validate({"position": position}).position == position


@pytest.mark.parametrize(
    "fields",
    [
        {"percentage": 1.2},
        {"percentage": -0.1},
        {"percentage": float("nan")},
        {"percentage": float("inf")},
        {"percentage": "0.5"},
        {"percentage": True},
        {"furthest": 2},
        {"position": "a\0b"},
        {"position": "x" * (POSITION_MAX_CHARS + 1)},
        {"position": 5},
        {"position_kind": "chapter"},
        {"status": "started"},
        {"status": None},
        {"series_id": ""},
        {"series_id": "s" * 513},
        {"series_id": "a\nb"},
        {"locator": "chapter1"},
        {"locator": {"href": "a"}},
        {"locator": {**LOCATOR, "href": ""}},
        {"locator": {**LOCATOR, "locations": {"progression": 1.5}}},
        {"locator": {**LOCATOR, "locations": {"position": 0}}},
        {"locator": {**LOCATOR, "text": {"before": 1}}},
        {"locator": {**LOCATOR, "title": "a\0"}},
        {"locator": {**LOCATOR, "more": {"a\0": 1}}},
        {"locator": {**LOCATOR, "more": nested(17)}},
        {"locator": {**LOCATOR, "more": nested(500)}},
        {"locator": {**LOCATOR, "more": "x" * LOCATOR_MAX_BYTES}},
    ],
    ids=lambda fields: repr(fields)[:60],
)
def test_a_value_that_is_none_is_refused(fields: dict[str, Any]):
    with pytest.raises(ValidationError):
        Progress.model_validate(fields)


def test_bounds_are_part_of_what_is_allowed():
    kept = Progress.model_validate({"percentage": 0, "furthest": 1, "position": "x" * POSITION_MAX_CHARS})
    assert (kept.percentage, kept.furthest, kept.status) == (0.0, 1.0, "reading")
    assert Progress.model_validate({"locator": {**LOCATOR, "more": nested(15)}}).locator


def test_what_a_locator_adds_to_the_standard_is_kept():
    locator = {**LOCATOR, "locations": {"cssSelector": "#p1", "progression": 0.5}, "koboSpan": {"id": 3}}
    kept = Progress.model_validate({"locator": locator}).locator
    assert kept
    assert kept.model_dump(exclude_none=True) == locator


@given(
    percentage=st.none() | st.floats(0, 1),
    furthest=st.none() | st.floats(0, 1),
)
def test_the_furthest_position_is_never_behind_the_present_one(percentage: float | None, furthest: float | None):
    fields = {"percentage": percentage, "furthest": furthest, "status": "reading"}
    completed = PROGRESS.complete(dict(fields), frozenset(), NOW)
    known = [place for place in (percentage, furthest) if place is not None]
    assert completed == {**fields, "furthest": max(known) if known else None}
    assert PROGRESS.complete(completed, frozenset(), NOW) == completed
