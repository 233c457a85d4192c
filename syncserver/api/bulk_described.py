"""What OpenAPI says of requests that hold many rows of a session, and of their answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from syncserver.api import describe
from syncserver.api.bulk_rows import BESIDE, ROWS_MAX, Kind
from syncserver.core import within

Raw = dict[str, Any]
_NAME = {"type": "string", "minLength": 1, "maxLength": 128}
_TEMP = {"type": "object", "required": ["$temp"], "properties": {"$temp": _NAME}, "additionalProperties": False}
_NODE_ID = {"type": "string", "pattern": f"^{within.NUMBERED.pattern}$"}
_NODE = {"anyOf": [_NODE_ID, _TEMP], "description": 'A node, or `{"$temp": name}` for one of this request.'}
_OWN_ID = {"type": "string", "pattern": f"^{within.NAMED.pattern}$"}
_ENDS = ("node_id", "from_node", "to_node")
_EXAMPLES: Mapping[str, Sequence[Raw]] = {
    "nodes": [{"temp": "ahab", "title": "Ahab"}, {"temp": "whale", "title": "Moby Dick"}],
    "components": [{"node_id": {"$temp": "ahab"}, "type": "text", "config": {"size": 12}}],
    "relationships": [{"from_node": {"$temp": "ahab"}, "to_node": {"$temp": "whale"}, "type": "hunts"}],
}
_ALONE: Mapping[str, Sequence[Raw]] = {
    "nodes": _EXAMPLES["nodes"],
    "components": [{"component_id": "face", "node_id": "N001", "type": "image"}],
    "relationships": [{"relationship_id": "hunt", "from_node": "N001", "to_node": "N002", "type": "hunts"}],
}
_GONE = {"nodes": "N003", "components": "face", "relationships": "hunt"}


def together(kinds: Mapping[str, Kind]) -> Raw:
    """The body with all kinds."""
    lists = {name: {"type": "array", "items": _item(kind)} for name, kind in kinds.items()}
    gone = {name: {"type": "array", "items": _own(kind)} for name, kind in kinds.items()}
    properties = {**lists, "remove": {"type": "object", "properties": gone}}
    example = {**_EXAMPLES, "remove": {}}
    return describe.given(properties, "mutation_id", "device_id", "device_name", example=example)


def rows(kind: Kind) -> Raw:
    """The body that is a list of rows."""
    return _list(_item(kind), _ALONE[kind.name])


def ids(kind: Kind) -> Raw:
    """The body that is a list of own ids."""
    return _list(_own(kind), [_GONE[kind.name]])


def _own(kind: Kind) -> Raw:
    return dict(_NODE_ID if kind.temps else _OWN_ID)


def _item(kind: Kind) -> Raw:
    """A row in a list."""
    fields = kind.resource.model.model_fields
    more: Raw = {kind.id: {**_own(kind), "description": "Made by the server if left out."}}
    if kind.temps:
        more["temp"] = {**_NAME, "description": "A name by which others of this request name it."}
    more |= {name: _NODE for name in _ENDS if name in fields and name != kind.id}
    item = describe.several(kind.resource, "session_id", *_ENDS, more=more)
    given = describe.given({}, *BESIDE, example={})["requestBody"]["content"]["application/json"]["schema"]
    needed = [name for name, field in fields.items() if field.is_required() and name != "session_id"]
    return {**item, "properties": {**item["properties"], **given["properties"]}, "required": needed}


def _list(item: Raw, example: Sequence[Any]) -> Raw:
    schema = {"type": "array", "maxItems": ROWS_MAX, "items": item, "examples": [example]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def answer(*kinds: Kind) -> Raw:
    """What is answered where all is written."""
    number = {"type": "integer", "minimum": 0}
    both = ("written", "removed")
    rows = {kind.name: {"type": "array", "items": _told(kind)} for kind in kinds}
    properties = {
        "status": {"type": "string", "enum": ["applied", "duplicate"]},
        "counts": {"type": "object", "required": list(both), "properties": dict.fromkeys(both, number)},
        "id_map": {"type": "object", "additionalProperties": {"type": "string"}, "description": "What `temp`s became."},
        **{way: {"type": "object", "properties": rows} for way in both},
    }
    schema = {"type": "object", "required": list(properties), "properties": properties}
    content = {"application/json": {"schema": schema}}
    return {"description": "All of it is written.", "headers": describe.PRIVATE, "content": content}


def _told(kind: Kind) -> Raw:
    properties = {kind.id: {"type": "string"}, "key": {"type": "string"}, "offset": {"type": "integer", "minimum": 1}}
    return {"type": "object", "required": list(properties), "properties": properties}
