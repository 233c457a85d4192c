import hashlib
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from syncserver.core import bodies, frames, values

PINNED = {1: "473657f98e62229247b89258307306acdabb29bb0044e29245a9d4316883b023"}
PROSE = {"title", "description", "examples"}


def _wire(schema: Any) -> Any:
    """The schema without its prose: a better sentence is no other protocol."""
    if isinstance(schema, dict):
        properties = {name: _wire(part) for name, part in schema.get("properties", {}).items()}
        rest = {name: _wire(part) for name, part in schema.items() if name not in {*PROSE, "properties"}}
        return {**rest, "properties": properties} if properties else rest
    return [_wire(part) for part in schema] if isinstance(schema, list) else schema


def test_the_wire_does_not_change_without_being_noticed():
    canonical = orjson.dumps(_wire(frames.schema()), option=orjson.OPT_SORT_KEYS)
    found = hashlib.sha256(canonical).hexdigest()
    assert found == PINNED.get(frames.PROTOCOL), (
        f"The frames are no longer those of protocol version {frames.PROTOCOL}. If every client of that version still"
        " understands them (an optional field was added, a limit raised), say so in docs and CHANGELOG and pin"
        f" {found!r} here. If not, raise frames.PROTOCOL, pin the hash under the new number, and keep speaking the old."
    )


def test_every_frame_and_body_has_a_schema_under_its_name():
    models = [*frames.CLIENT_FRAMES, *frames.SERVER_FRAMES, *bodies.BODIES]
    assert list(frames.schema()) == [model.__name__ for model in models]


def test_every_frame_names_its_type():
    for models in (frames.CLIENT_FRAMES, frames.SERVER_FRAMES):
        kinds = [model.model_fields["type"].default for model in models]
        assert len(set(kinds)) == len(kinds)


MUTATION = {"mutation_id": "0199AAAA-0000-7000-8000-00000000000F", "resource": "progress", "key": "k", "op": "put"}


def test_a_mutation_id_is_one_in_upper_and_lower_case():
    assert values.Mutation.model_validate(MUTATION).mutation_id == MUTATION["mutation_id"].lower()


@pytest.mark.parametrize(
    "changed",
    [
        {"mutation_id": "1"},
        {"mutation_id": None},
        {"op": "Burn!"},
        {"op": ""},
        {"key": ""},
        {"key": "a\0"},
        {"key": "a\x85b"},
        {"key": "k" * 513},
        {"key": {"temp": ""}},
        {"key": {"other": "1"}},
        {"after": ["1"]},
        {"after": [MUTATION["mutation_id"]] * 65},
        {"resource": ""},
        {"data": []},
        {"base": -1},
        {"base": 2**63},
        {"base": "1"},
        {"base": True},
        {"updated_at": 5},
        {"policy": "luck"},
    ],
    ids=str,
)
def test_a_mutation_of_another_form_is_refused(changed: dict[str, Any]):
    with pytest.raises(ValidationError):
        values.Mutation.model_validate({**MUTATION, **changed})


def test_a_key_may_be_a_temporary_name():
    mutation = values.Mutation.model_validate({**MUTATION, "key": {"temp": "chat-1"}})
    assert mutation.key == values.Temporary(temp="chat-1")


HELLO = {
    "type": "hello",
    "device": {"id": "phone"},
    "client_id": "phone",
    "sent_at": "2026-11-22T08:15:00.000000Z",
    "protocol": [1, 1],
}


def test_a_hello_never_shows_both_a_token_and_a_ticket():
    with pytest.raises(ValidationError):
        frames.Hello.model_validate({**HELLO, "token": "a", "ticket": "b"})
    for keys in ({}, {"token": "a"}, {"ticket": "b"}, {"token": None}):
        assert frames.Hello.model_validate({**HELLO, **keys})


@pytest.mark.parametrize(
    ("model", "fits"),
    [(frames.Presence, {"state": {"at": "x" * 4000}}), (frames.Broadcast, {"topic": "t", "data": "x" * 16_000})],
    ids=["presence", "broadcast"],
)
def test_what_is_ephemeral_is_small(model: type[values.Model], fits: dict[str, Any]):
    model.model_validate(fits)
    name = next(reversed(fits))
    with pytest.raises(ValidationError):
        model.model_validate({**fits, name: {"at": "x" * 20_000}})
