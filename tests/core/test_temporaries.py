from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core import temporaries

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        | st.builds(lambda name: {"$temp": name}, st.text(max_size=5))
    ),
    max_leaves=12,
)


@given(_json)
def test_what_is_named_is_replaced_and_nothing_else_is_changed(value: Any):
    names = temporaries.named(value)
    known = temporaries.replaced(value, {name: f"key of {name}" for name in names})
    assert temporaries.named(known) == frozenset()
    if not names:
        assert known == value


@given(_json)
def test_each_name_stands_for_its_own_key(value: Any):
    names = temporaries.named(value)
    back = {name: {"$temp": name} for name in names}
    assert temporaries.replaced(value, back) == value  # type: ignore[arg-type]


def test_a_name_is_found_at_any_depth():
    value = {"a": [{"b": {"$temp": "x"}}, {"$temp": "y"}]}
    assert temporaries.named(value) == {"x", "y"}
    assert temporaries.replaced(value, {"x": "1", "y": "2"}) == {"a": [{"b": "1"}, "2"]}


@pytest.mark.parametrize("value", [{"$temp": 5}, {"$temp": "x", "more": 1}, {"temp": "x"}, "$temp"], ids=str)
def test_what_only_looks_like_a_name_is_left_alone(value: Any):
    assert temporaries.named(value) == frozenset()
    assert temporaries.replaced(value, {}) == value


def test_a_name_without_a_key_is_an_error():
    with pytest.raises(KeyError):
        temporaries.replaced({"$temp": "x"}, {})
