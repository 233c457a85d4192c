from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syncserver.core.cursor import Cursor, channel_tag
from syncserver.core.errors import Refetch

_offsets = st.integers(0, 2**63 - 1)


@given(st.from_regex(r"[0-9a-f]{10}", fullmatch=True), st.text(max_size=50), _offsets)
def test_a_cursor_is_read_back_as_it_was_written(epoch: str, owner: str, offset: int):
    owner = owner.encode(errors="ignore").decode()
    cursor = Cursor.at(epoch, owner, offset)
    assert Cursor.parse(str(cursor)) == cursor
    cursor.check(epoch, owner, floor=0, head=offset)


@given(st.text(max_size=100) | st.from_regex(r"\A[0-9a-f]{10}\.[0-9a-f]{8}\.-?[0-9٣]{0,40}\Z"))
@example("e.c.9223372036854775808")
@example("e.c.²")
@example("e.c.+1")
@example("e.c.1_0")
@example("e.c. 1")
@example("e.c.1.1")
@example("e.c." + "9" * 5000)
def test_any_other_text_is_unreadable_and_nothing_worse(text: str):
    cursor = None
    with suppress(Refetch):
        cursor = Cursor.parse(text)
    assert cursor is None or Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize(
    "text", ["", ".", "a.b", "a.b.c", "a.b.-1", "a.b.1.5.0", "a.b.1.-5", "a.b.9223372036854775808"]
)
def test_texts_that_no_server_wrote_are_refused(text: str):
    with pytest.raises(Refetch) as refused:
        Cursor.parse(text)
    assert refused.value.reason == "unreadable"


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        (Cursor.at("now", "user:eve", 5), "owner"),
        (Cursor.at("old", "user:ada", 5), "epoch"),
        (Cursor.at("now", "user:ada", 10), "ahead"),
        (Cursor.at("now", "user:ada", 2), "floor"),
    ],
)
def test_a_cursor_that_cannot_be_resumed_says_why(cursor: Cursor, reason: str):
    with pytest.raises(Refetch) as refused:
        cursor.check("now", "user:ada", floor=3, head=9)
    assert refused.value.reason == reason


@pytest.mark.parametrize("offset", [0, 3, 9])
def test_the_beginning_the_floor_and_the_head_can_be_resumed(offset: int):
    Cursor.at("now", "user:ada", offset).check("now", "user:ada", floor=3, head=9)


@given(offset=_offsets, began=_offsets)
def test_one_that_began_at_a_floor_keeps_it_until_it_is_past_it(offset: int, began: int):
    cursor = Cursor.at("now", "user:ada", offset, began)
    assert Cursor.parse(str(cursor)) == cursor
    assert cursor.began == (began if offset < began else 0)
    cursor.check("now", "user:ada", floor=began, head=2**63 - 1)


def test_one_that_began_from_nothing_pages_past_the_floor_of_that_time_but_not_past_a_later_one():
    cursor = Cursor.at("now", "user:ada", offset=2, began=5)
    cursor.check("now", "user:ada", floor=5, head=9)
    with pytest.raises(Refetch, match="floor"):
        cursor.check("now", "user:ada", floor=6, head=9)


def test_a_cursor_does_not_name_its_owner():
    assert "ada" not in str(Cursor.at("now", "user:ada", 5))
    assert channel_tag("user:ada") != channel_tag("user:eve")
