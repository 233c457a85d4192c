import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core import depth
from syncserver.core.errors import TooLarge

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text('[]{}"\\a', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("[{a", max_size=3), inner, max_size=3),
    max_leaves=25,
)


def levels(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(levels, inner), default=0)


@given(JSON, st.integers(1, 6))
def test_as_deep_as_it_may_be_and_no_deeper(value: Any, most: int):
    for text in (json.dumps(value), json.dumps(value).encode()):
        if levels(value) <= most:
            assert depth.loads(text, most) == value
        else:
            with pytest.raises(TooLarge):
                depth.loads(text, most)


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 2_000 + "]" * 2_000, "{", ""])
def test_what_is_no_json_is_refused_as_that(text: str):
    with pytest.raises(orjson.JSONDecodeError):
        depth.loads(text, 64)


def test_a_text_with_few_brackets_is_not_looked_through(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(depth, "deeper", lambda *_: pytest.fail("looked"))
    assert depth.loads('{"a": [[1], "]"]}', 3)
