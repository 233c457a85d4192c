import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syncserver.core import frames, protocol, values
from syncserver.core.errors import Invalid, Malformed, SyncError, TooLarge, Unsupported
from syncserver.core.protocol import Protocol, State

HELLO = {
    "type": "hello",
    "token": "t",
    "device": {"id": "phone"},
    "client_id": "c",
    "sent_at": "2026-11-22T08:15:00Z",
    "protocol": [1, 1],
}
MUTATION = {
    "mutation_id": "0199aaaa-0000-7000-8000-000000000001",
    "resource": "progress",
    "key": "moby-dick",
    "op": "put",
    "data": {},
}


def text(frame: object) -> str:
    return json.dumps(frame)


def opened() -> Protocol:
    found = Protocol()
    found.receive(text(HELLO))
    found.opened()
    return found


# -- states ------------------------------------------------------------------


def test_hello_comes_first_and_opens_the_way_for_the_others():
    one = Protocol()
    assert one.state is State.HELLO
    assert isinstance(one.receive(text(HELLO)), frames.Hello)
    assert one.state is State.HELLO  # until whoever checks the token says so
    one.opened()
    for kind in ("subscribe", "unsubscribe", "ping"):
        assert one.receive(text({"type": kind})).type == kind
    assert isinstance(one.receive(text({"type": "push", "mutations": [MUTATION]})), frames.Push)


def test_bytes_are_read_like_text():
    assert Protocol().receive(text(HELLO).encode()) == Protocol().receive(text(HELLO))


@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe", "ping", "push"])
def test_nothing_may_come_before_hello(kind: str):
    with pytest.raises(Malformed, match="first frame"):
        Protocol().receive(text({"type": kind, "mutations": []}))


def test_hello_may_not_come_twice():
    with pytest.raises(Malformed, match="first frame"):
        opened().receive(text(HELLO))


def test_nothing_may_come_after_the_end():
    one = opened()
    one.closed()
    with pytest.raises(Malformed, match="closed"):
        one.receive(text({"type": "ping"}))


# -- bad frames --------------------------------------------------------------


def _deep(levels: int) -> str:
    return '{"type":"ping","x":' + "[" * levels + "]" * levels + "}"


@pytest.mark.parametrize(
    "message",
    [
        "",
        "hello",
        "{",
        b"\xff\xfe",
        "\ud800",
        '{"type":"ping","x":"\\ud800"}',
        '{"type":"ping","x":NaN}',
        '{"type":"ping","x":Infinity}',
        "[]",
        "null",
        '"ping"',
        "{}",
        _deep(100_000),
        text({"type": "nothing"}),
        text({"type": 5}),
        text({"type": ["ping"]}),
        text({"type": "ping", "sent_at": 5}),
        text({"type": "ping", "sent_at": "2026-11-22"}),
        text({"type": "push"}),
        text({"type": "push", "mutations": {}}),
        text({"type": "push", "mutations": [5]}),
        text({"type": "push", "mutations": [MUTATION] * 501}),
        text({"type": "subscribe", "cursor": 5}),
        text({"type": "subscribe", "cursor": "c" * 129}),
        text({"type": "subscribe", "resources": "progress"}),
        text({"type": "subscribe", "resources": ["r"] * 65}),
    ],
    ids=lambda message: repr(message[:40]),
)
def test_a_frame_that_is_none_is_malformed_and_closes_with_4500(message: str | bytes):
    with pytest.raises(Malformed) as refused:
        opened().receive(message)
    assert (refused.value.code, refused.value.close, refused.value.retry) == ("malformed", 4500, False)


@pytest.mark.parametrize(
    "changed",
    [
        {"token": 5},
        {"token": "t" * 16_385},
        {"device": None},
        {"device": {}},
        {"device": {"id": ""}},
        {"device": {"id": "a\0b"}},
        {"device": {"id": "d" * 129}},
        {"client_id": 7},
        {"sent_at": "yesterday"},
        {"protocol": 1},
        {"protocol": [1]},
        {"protocol": ["1", "1"]},
    ],
    ids=text,
)
def test_a_hello_with_a_field_missing_or_of_another_type_is_malformed(changed: dict[str, Any]):
    with pytest.raises(Malformed, match="The hello frame is wrong: /"):
        Protocol().receive(text({**HELLO, **changed}))


@pytest.mark.parametrize("versions", [[2, 3], [0, 0], [2, 1]])
def test_versions_that_this_server_does_not_speak_close_with_4502(versions: list[int]):
    with pytest.raises(Unsupported) as refused:
        Protocol().receive(text({**HELLO, "protocol": versions}))
    assert (refused.value.close, refused.value.retry) == (4502, False)


@pytest.mark.parametrize("versions", [[1, 1], [0, 1], [1, 99]])
def test_a_range_that_holds_this_version_is_spoken(versions: list[int]):
    assert isinstance(Protocol().receive(text({**HELLO, "protocol": versions})), frames.Hello)


@pytest.mark.parametrize("one", [Protocol(), opened()])
def test_a_frame_over_one_mebibyte_closes_with_1009_and_one_of_that_size_is_read(one: Protocol):
    frame = text({**HELLO, "type": "hello" if one.state is State.HELLO else "ping"})
    assert one.receive(frame + " " * (values.FRAME_BYTES - len(frame)))
    with pytest.raises(TooLarge) as refused:
        one.receive(frame + " " * (values.FRAME_BYTES - len(frame) + 1))
    assert refused.value.close == 1009


def test_500_mutations_may_come_in_one_frame():
    frame = opened().receive(text({"type": "push", "mutations": [MUTATION] * 500}))
    assert isinstance(frame, frames.Push)
    assert len(frame.mutations) == 500


def test_unknown_fields_are_ignored():
    frame = Protocol().receive(text({**HELLO, "colour": "red", "device": {"id": "phone", "weight": 190}}))
    assert frame == Protocol().receive(text(HELLO))


# -- laws --------------------------------------------------------------------

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
_names = st.sampled_from(
    ["token", "device", "client_id", "sent_at", "protocol", "cursor", "resources", "mutations", "id", "x"]
)
_types = st.sampled_from(["hello", "subscribe", "unsubscribe", "push", "ping"])
_frames = st.builds(lambda kind, rest: {**rest, "type": kind}, _types | _json, st.dictionaries(_names, _json))


def answered(one: Protocol, message: str | bytes) -> frames.ClientFrame | SyncError:
    try:
        return one.receive(message)
    except SyncError as refused:
        return refused


@given(st.text() | st.binary() | _json.map(text) | _frames.map(text), st.booleans())
@example('{"type":"hello"}', True)
def test_whatever_comes_is_a_frame_or_an_error_of_ours(message: str | bytes, first: bool):
    answer = answered(Protocol() if first else opened(), message)
    assert isinstance(answer, values.Model) or answer.detail


SECRET = "Xq7-secret"
_places = st.sampled_from(["token", "device", "client_id", "sent_at", "protocol", "cursor", "resources", "mutations"])
_hidden = st.sampled_from(
    [SECRET, f"{SECRET}\0", SECRET * 2000, [SECRET], {"id": SECRET * 20}, {"id": f"\n{SECRET}"}, f"2026-{SECRET}T"]
)


@given(_types, st.dictionaries(_places, _hidden))
def test_an_error_never_repeats_what_came(kind: str, rest: dict[str, Any]):
    hello = kind == "hello"
    answer = answered(Protocol() if hello else opened(), text({**(HELLO if hello else {}), **rest, "type": kind}))
    if isinstance(answer, SyncError):
        assert SECRET not in answer.detail
        assert answer.__suppress_context__


@given(st.dictionaries(st.sampled_from(sorted(values.Mutation.model_fields)), _hidden | _json))
def test_an_error_about_a_mutation_names_places_and_never_values(raw: dict[str, Any]):
    try:
        values.Mutation.model_validate({**MUTATION, **raw})
    except ValueError as error:
        found = protocol.invalid(error, "/root")  # type: ignore[arg-type]
        assert SECRET not in found.detail
        if isinstance(found, Invalid):
            assert SECRET not in str(found.errors)
            assert all(e["pointer"].startswith("/root/") for e in found.errors)


def test_only_length_makes_it_too_large():
    def judged(**fields: Any) -> SyncError:
        with pytest.raises(ValueError) as found:  # noqa: PT011 - pydantic's
            values.Mutation.model_validate({**MUTATION, **fields})
        return protocol.invalid(found.value)  # type: ignore[arg-type]

    assert isinstance(judged(key="k" * 513), TooLarge)
    assert isinstance(judged(key="k" * 513, op="Burn!"), Invalid)
    assert isinstance(judged(base=-1), Invalid)


def test_places_are_json_pointers():
    assert protocol.pointer(("data", 3, "a/b", "c~d")) == "/data/3/a~1b/c~0d"
    assert protocol.pointer(()) == ""
