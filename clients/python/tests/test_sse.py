"""The parser of server-sent events: whatever way the bytes are cut, the same events come out."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncserver_client.errors import Transient
from syncserver_client.sse import Event, Parser

names = st.sampled_from(["", "changes", "ready"])
texts = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), max_size=12)
ends = st.sampled_from(["\n", "\r", "\r\n"])


@st.composite
def streams(draw):
    """A stream and the events in it."""
    events, text, last = [], draw(st.sampled_from(["", "\ufeff"])), ""
    for _ in range(draw(st.integers(0, 5))):
        name, lines, end = draw(names), draw(st.lists(texts, min_size=1, max_size=3)), draw(ends)
        if draw(st.booleans()):
            text += ": a comment" + end
        if draw(st.booleans()):
            last = draw(st.sampled_from(["c.1", "c.22"]))
            text += f"id: {last}{end}"
        text += f"event: {name}{end}" if name else ""
        text += "".join(f"data: {line}{end}" for line in lines) + end
        events.append(Event(name or "message", "\n".join(lines).encode(), last))
    return text.encode(), events


@given(streams(), st.lists(st.integers(0, 400), max_size=20))
def test_any_split_of_the_bytes_gives_the_same_events(stream, cuts):
    text, events = stream
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    parser = Parser()
    chunks = [text[a:b] for a, b in itertools.pairwise(places)]
    assert [event for chunk in chunks for event in parser.feed(chunk)] == events


@given(streams())
def test_byte_by_byte_too(stream):
    text, events = stream
    parser = Parser()
    assert [event for n in range(len(text)) for event in parser.feed(text[n : n + 1])] == events


def test_a_field_without_colon_or_of_an_unknown_name_is_no_event():
    parser = Parser()
    assert parser.feed(b"retry: 5\nwhat\nevent: lost\n\ndata\ndata:x\n\n") == [Event("message", b"\nx", "")]


@pytest.mark.parametrize("endless", [b"data: " + b"x" * 50, b"data: 1234\n" * 10, b": " + b"x" * 50])
def test_an_event_without_end_is_given_up(endless):
    with pytest.raises(Transient, match="too_large"):
        Parser(most_bytes=40).feed(endless)


def test_many_small_events_and_comments_are_not_one_large_one():
    parser = Parser(most_bytes=40)
    for _ in range(100):
        assert parser.feed(b": still here\n\nid: c.1\ndata: 123\n\n") == [Event("message", b"123", "c.1")]
