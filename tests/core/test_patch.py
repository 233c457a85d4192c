"""JSON merge patch, with the examples of RFC 7396."""

from typing import Any

import pytest

from syncserver.core import patch


@pytest.mark.parametrize(
    ("target", "change", "result"),
    [  # the examples of RFC 7396, below the top where null removes
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
    ],
)
def test_a_patch_merges_as_rfc_7396_says(target: Any, change: Any, result: Any):
    found = patch.merged({"locator": target}, {"locator": change})
    assert found == {"locator": result}


def test_a_null_at_the_top_empties_a_field_and_adds_none():
    assert patch.merged({"a": 1, "b": 2}, {"a": None, "c": None}) == {"a": None, "b": 2}


def test_merging_changes_neither_side():
    target, change = {"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}}
    assert patch.merged(target, change) == {"a": {"b": {"c": 1, "d": 2}}}
    assert (target, change) == ({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}})
