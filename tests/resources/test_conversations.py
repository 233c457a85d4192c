from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from syncserver import resources
from syncserver.core import clock
from syncserver.resources.conversations import CONTENT_MAX_CHARS, TITLE_MAX_CHARS, Conversation, Message

CONVERSATIONS, MESSAGES = (resources.catalog()[name] for name in ("conversations", "messages"))
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WORDS: dict[str, Any] = {
    "conversation_id": "018f6f2e-4f0a-7c3a-9d3e-0a1b2c3d4e5f",
    "role": "user",
    "content": "Who is Ishmael?",
}


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_any_text_without_nul_is_kept_as_it_is(content: str):
    assert Message.model_validate({**WORDS, "content": content}).content == content


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "robot"},
        {"role": None},
        {"role": "User"},
        {"content": ""},
        {"content": None},
        {"content": ["a"]},
        {"content": "a\0b"},
        {"content": "x" * (CONTENT_MAX_CHARS + 1)},
        {"conversation_id": "moby"},
        {"conversation_id": None},
        {"created_at": "2026-03-01"},
        {"created_at": "2026-03-01T10:00:00"},
        {"created_at": 0},
    ],
    ids=lambda fields: repr(fields)[:60],
)
def test_a_message_that_is_none_is_refused(fields: dict[str, Any]):
    with pytest.raises(ValidationError):
        Message.model_validate({**WORDS, **fields})


@pytest.mark.parametrize("name", WORDS)
def test_a_message_has_all_its_parts(name: str):
    with pytest.raises(ValidationError):
        Message.model_validate({other: value for other, value in WORDS.items() if other != name})


@pytest.mark.parametrize("title", ["", None, 5, "x" * (TITLE_MAX_CHARS + 1), "a\nb", "a\0b", "\x85"])
def test_a_title_that_is_none_is_refused(title: object):
    with pytest.raises(ValidationError):
        Conversation.model_validate({"title": title})


def test_bounds_are_part_of_what_is_allowed():
    assert Conversation.model_validate({"title": "字" * TITLE_MAX_CHARS}).created_at is None
    longest = "𝄞\n" * (CONTENT_MAX_CHARS // 2)
    for role in ("user", "assistant", "system"):
        assert Message.model_validate({**WORDS, "role": role, "content": longest}).content == longest
    upper = {**WORDS, "conversation_id": WORDS["conversation_id"].upper()}
    assert Message.model_validate(upper).conversation_id == WORDS["conversation_id"]


@given(st.none() | st.integers(-1_000_000, 1_000_000), st.booleans())
def test_nothing_is_created_in_the_future_and_what_was_said_before_stays(ago_s: int | None, said: bool):
    created_at = None if ago_s is None else clock.write(NOW - timedelta(seconds=ago_s))
    for resource in (CONVERSATIONS, MESSAGES):
        given_now = frozenset({"created_at"} if said else ())
        kept = resource.complete({"created_at": created_at}, given_now, NOW)["created_at"]
        late = created_at is None or (said and created_at > clock.write(NOW))
        assert kept == (clock.write(NOW) if late else created_at)
        assert resource.complete({"created_at": kept}, given_now, NOW) == {"created_at": kept}


def test_keys_that_the_server_makes_rise():
    assert MESSAGES.make_key is not None
    made = [MESSAGES.make_key() for _ in range(1000)]
    assert made == sorted(set(made))
    assert [MESSAGES.canonical(key) for key in made] == made
