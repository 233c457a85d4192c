"""What a patch says leads where it should, whatever the states; what it cannot say is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncserver_client.difference import LOCATOR, Unsayable, apart, changed, replacing, without_nulls
from syncserver_client.overlay import merged
from syncserver_client.wire import canonical

names = st.sampled_from(["a", "b", "c", "locations"])
plain = st.one_of(st.booleans(), st.integers(-2, 2), st.floats(-1, 1), st.sampled_from(["", "x"]))
sayable = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.dictionaries(names, inner, max_size=3), st.lists(st.one_of(st.none(), inner), max_size=2)
    ),
    max_leaves=8,
)
anything = st.recursive(
    st.one_of(st.none(), plain),
    lambda inner: st.one_of(st.dictionaries(names, inner, max_size=3), st.lists(inner, max_size=2)),
    max_leaves=8,
)
rows = st.dictionaries(names, st.one_of(st.none(), sayable), max_size=3)


def filled(fields):
    """Without empty fields, which are as good as none."""
    return {name: value for name, value in fields.items() if value is not None}


@given(st.dictionaries(names, anything, max_size=3), rows)
def test_the_difference_leads_from_the_one_to_the_other(before, after):
    result = merged(before, changed(before, after))
    assert canonical(filled(result)) == canonical(filled({**before, **after}))


@given(st.dictionaries(names, anything, max_size=3), st.dictionaries(names, anything, max_size=3))
def test_it_is_right_or_refused_and_refused_only_over_a_null(before, after):
    try:
        patch = changed(before, after)
    except Unsayable:
        assert b"null" in canonical(after)
    else:
        assert canonical(filled(merged(before, patch))) == canonical(filled({**before, **after}))


@given(anything)
def test_what_is_alike_differs_in_nothing(value):
    assert changed({"state": value}, {"state": value}) == {}


def test_it_says_the_smallest_members_that_differ():
    before = {"percentage": 0.1, "state": {"font": "serif", "scroll": {"x": 0, "y": 1}, "gone": 1}}
    after = {"percentage": 0.1, "state": {"font": "serif", "scroll": {"x": 0, "y": 2}}}
    assert changed(before, after) == {"state": {"scroll": {"y": 2}, "gone": None}}


def test_one_and_true_and_one_point_nought_are_told_apart():
    assert changed({"state": [1]}, {"state": [True]}) == {"state": [True]}
    assert changed({"state": 1}, {"state": 1.0}) == {"state": 1.0}


def test_a_null_that_is_new_is_refused_and_says_where_it_is():
    with pytest.raises(Unsayable, match="/state/a/b"):
        changed({"state": {"a": 1}}, {"state": {"a": {"b": None}}})


def test_a_null_that_is_there_already_and_one_in_an_array_do_no_harm():
    before = {"state": {"a": None, "b": 1}}
    assert changed(before, {"state": {"a": None, "b": [None, {"c": None}]}}) == {"state": {"b": [None, {"c": None}]}}
    assert changed(before, {"state": {"b": 1}}) == {"state": {"a": None}}


@given(sayable, st.dictionaries(names, sayable, max_size=3), st.dictionaries(names, sayable, max_size=2))
def test_a_replacement_leads_to_the_same_from_all_that_has_only_known_members(before, after, other):
    shape = {"a": {"a": {}, "b": {}, "c": {}, "locations": {}}}
    known = {"locator": before}
    result = merged(known, {"locator": replacing(before, after, shape)})
    assert canonical(result["locator"]) == canonical(after)
    elsewhere = {"a": {"b": 1}} if "a" not in other else {"a": 5}
    result = merged({"locator": elsewhere}, {"locator": replacing(before, after, shape)})
    assert canonical(result["locator"]) == canonical(after)


def test_no_mixture_of_two_places_comes_out():
    theirs = {"href": "2", "type": "t", "title": "Two", "locations": {"position": 9}, "text": {"after": "x"}}
    mine = {"href": "1", "type": "t", "locations": {"progression": 0.5}}
    assert merged({"locator": theirs}, {"locator": replacing(None, mine, LOCATOR)}) == {"locator": mine}


def test_members_that_are_null_can_be_left_out():
    assert without_nulls({"a": None, "b": {"c": None, "d": [None]}}) == {"b": {"d": [None]}}


@given(rows, rows, rows)
def test_two_patches_that_are_apart_may_come_in_either_order(before, one, other):
    mine, theirs = changed(before, {**before, **one}), changed(before, {**before, **other})
    if apart(mine, theirs):
        assert canonical(merged(merged(before, mine), theirs)) == canonical(merged(merged(before, theirs), mine))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"a": 1}, {"b": 1}, True),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": {"x": 1}}, {"a": {"y": 1}}, True),
        ({"a": {"x": 1}}, {"a": {"x": {"y": 1}}}, False),
        ({"a": {"x": 1}}, {"a": None}, False),
    ],
)
def test_patches_are_apart_that_say_nothing_different_of_a_member(one, other, expected):
    assert apart(one, other) is apart(other, one) is expected
