"""What OpenAPI says of a resource's rows and bodies, from its model and its table."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from syncserver.core import values
from syncserver.core.resolver import Policy
from syncserver.storage.resource import Resource

_STAMP = {"type": "string", "format": "date-time"}
_BESIDE: dict[str, Any] = {
    "updated_at": {**_STAMP, "description": "When it was written; now if left out."},
    "device_id": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Which device wrote it."},
    "device_name": {"type": "string", "minLength": 1, "maxLength": 128, "description": "What people call that device."},
    "base": {
        "type": "integer",
        "minimum": 0,
        "maximum": 2**63 - 1,
        "description": "The offset at which you last saw the row (or use If-Match).",
    },
    "policy": {"type": "string", "enum": [policy.value for policy in Policy]},
    "mutation_id": {"type": "string", "format": "uuid", "description": "Send it again with a retry."},
}
_SEEN: dict[str, Any] = {
    "seen_updated_at": {**_STAMP, "description": "The `updated_at` that you last saw, if you know no `base`."},
}
PRIVATE: dict[str, Any] = {
    "Cache-Control": {"description": "Never kept by a cache.", "required": True, "schema": {"type": "string"}}
}
STATUS: dict[str, Any] = {
    "Sync-Status": {
        "description": "What became of the write.",
        "required": True,
        "schema": {"type": "string", "enum": ["applied", "merged", "duplicate"]},
    }
}
STATUS_ANY: dict[str, Any] = {
    "Sync-Status": {
        "description": "What became of the write.",
        "required": True,
        "schema": {"type": "string", "enum": ["applied", "merged", "superseded", "duplicate"]},
    }
}


def etag(of: str, pattern: str) -> dict[str, Any]:
    """An ETag header that is `of` something, between quotes."""
    schema = {"type": "string", "pattern": f'^"{pattern}"$'}
    return {"ETag": {"description": f"{of}, between quotes.", "required": True, "schema": schema}}


Answers = dict[int | str, dict[str, Any]]
"""What FastAPI takes as `responses`."""

OK: Answers = {200: {"headers": PRIVATE}}
DONE: Answers = {204: {"description": "It is done.", "headers": {**PRIVATE, **STATUS}}}


def _model(resource: Resource) -> dict[str, Any]:
    """The fields of a row; not needed is the one that its key says."""
    schema = _inlined(resource.model.model_json_schema())
    if resource.within is not None:
        schema["required"].remove(resource.within.field)
        schema["required"] or schema.pop("required")
    return schema


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its references resolved: it stands inside another document."""
    definitions = schema.pop("$defs", {})

    def resolved(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return resolved(definitions[value["$ref"].rsplit("/", 1)[1]])
            return {name: resolved(member) for name, member in value.items()}
        return [resolved(member) for member in value] if isinstance(value, list) else value

    found: dict[str, Any] = resolved(schema)
    return found


def row(resource: Resource, *, written: bool = False) -> dict[str, Any]:
    """The answer that holds one row; `written`: it answers a write."""
    headers = {**PRIVATE, **etag("The row's offset", "[0-9]+"), **(STATUS if written else {})}
    return {"description": "The row as it is now.", "headers": headers, **_json(_row(resource))}


def rows(resource: Resource) -> dict[str, Any]:
    """The answer that holds a page of rows."""
    properties = {
        "items": {"type": "array", "items": _row(resource, but=resource.heavy)},
        "next": {"type": ["string", "null"], "description": "Leads on, as `after`; null at the end."},
    }
    schema = {"type": "object", "required": list(properties), "properties": properties}
    return {"description": "A page of rows.", "headers": PRIVATE, **_json(schema)}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _row(resource: Resource, but: frozenset[str] = frozenset()) -> dict[str, Any]:
    own = _model(resource)["properties"]
    shown = [column for column in resource.columns if column.name not in but]
    properties = {column.name: own.get(column.name) or _column(column) for column in shown}
    properties["offset"] = {"type": "integer", "minimum": 1, "description": "Where it stands in the reader's log."}
    return {"type": "object", "required": list(properties), "properties": properties}


def _column(column: sa.Column[Any]) -> dict[str, Any]:
    """What PostgreSQL writes of a column that is not a client's to choose freely."""
    kind = _STAMP if isinstance(column.type, sa.DateTime) else _kind(column)
    return {"anyOf": [kind, {"type": "null"}]} if column.nullable else kind


def _kind(column: sa.Column[Any]) -> dict[str, Any]:
    if isinstance(column.type, pg.UUID):
        return {"type": "string", "format": "uuid"}
    return {"type": "integer" if isinstance(column.type, sa.Integer) else "string"}


def body(resource: Resource, *, whole: bool) -> dict[str, Any]:
    """The body of a put (whole) or a patch."""
    schema = _model(resource)
    strict = _SEEN if resource.strict and not whole else {}
    schema["properties"] = {**schema["properties"], **_BESIDE, **strict}
    if not whole:
        schema.pop("required", None)
    return {"requestBody": {"required": True, **_json(schema)}}


def pages(resource: Resource, goes: tuple[str, str] = ("newer", "older")) -> dict[str, Any]:
    """The answer that holds a page of rows which goes on both ways, to such as `goes` says."""
    answer = rows(resource)
    schema = answer["content"]["application/json"]["schema"]
    later, earlier = goes
    ways = {
        "next": f"{later} ones, as `after`; null at the end",
        "previous": f"{earlier} ones, as `before`; null at the beginning",
    }
    schema["properties"] |= {n: {"type": ["string", "null"], "description": f"Leads to {s}."} for n, s in ways.items()}
    schema["required"] = list(schema["properties"])
    return {**answer, "description": "A page of rows, in order."}


def nested(
    resource: Resource, *but: str, more: Mapping[str, Any] | None = None, example: Mapping[str, Any], whole: bool = True
) -> dict[str, Any]:
    """A body with the fields of a row, without those that its path says, and `more`; `whole`: with all it needs."""
    schema = _fields(resource, *but)
    if not whole:
        schema.pop("required", None)
    strict = _SEEN if resource.strict and not whole else {}
    schema["properties"] = {**(more or {}), **schema["properties"], **_BESIDE, **strict}
    schema["examples"] = [example]
    return {"requestBody": {"required": True, **_json(schema)}}


def several(resource: Resource, *but: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """Some fields of a row, as a member of a list in a body."""
    schema = _fields(resource, *but)
    return {"type": "object", "properties": {**more, **schema["properties"]}}


def given(properties: Mapping[str, Any], *beside: str, required: Sequence[str] = (), example: Any) -> dict[str, Any]:
    """A body that has these, and `beside` them what stands beside a row's fields."""
    named = {**properties, **{name: _BESIDE[name] for name in beside}}
    schema = {"type": "object", "required": list(required), "properties": named, "examples": [example]}
    return {"requestBody": {"required": True, **_json(schema)}}


def _fields(resource: Resource, *but: str) -> dict[str, Any]:
    schema = _model(resource)
    schema["properties"] = {name: field for name, field in schema["properties"].items() if name not in but}
    schema["required"] = [name for name in schema.get("required", ()) if name not in but]
    return {name: value for name, value in schema.items() if name != "required" or value}


def holding(answer: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """An answer with more members, which it may have."""
    content = answer["content"]["application/json"]["schema"]
    return {**answer, **_json({**content, "properties": {**content["properties"], **more}})}


def one(resource: Resource) -> dict[str, Any]:
    """One row, as a part of an answer."""
    return _row(resource)


def model(kind: type[values.Model]) -> dict[str, Any]:
    """What a body of this kind has, by name."""
    found: dict[str, Any] = _inlined(kind.model_json_schema())["properties"]
    return found


def beginning(resource: Resource, but: str | None = None) -> dict[str, Any]:
    """The body that makes a new row, without the field `but`; its key is the client's or, left out, the server's."""
    schema = _model(resource)
    if but is not None:
        schema["required"].remove(but)
        for named in (schema["properties"], *schema["examples"]):
            named.pop(but)
    schema["properties"] = {**_identity(resource), **schema["properties"], **_BESIDE}
    return {"requestBody": {"required": True, **_json(schema)}}


def optional(resource: Resource, *, identity: bool = False) -> dict[str, Any]:
    """A body that may hold some fields and what stands beside them; `identity`: and the key of a new row."""
    own = {name: schema for name, schema in _BESIDE.items() if name != "policy"}
    properties = {**(_identity(resource) if identity else {}), **_model(resource)["properties"], **own}
    schema = {"properties": properties}
    return {"requestBody": {"content": {"application/json": {"schema": schema, "example": {"device_id": "tablet-1"}}}}}


def around(model: type[values.Model], resource: Resource, *but: str) -> dict[str, Any]:
    """A body that holds fields of a row under `fields`, and beside them what any write may, `but` these."""
    schema = _inlined(model.model_json_schema())
    given = {name: own for name, own in _BESIDE.items() if name not in {*but, *schema["properties"]}}
    fields = {"type": "object", "properties": _model(resource)["properties"]}
    schema["properties"] = {**schema["properties"], **given, "fields": fields}
    return {"requestBody": {"required": True, **_json(schema)}}


def batch(model: type[values.Model], one: type[values.Model], name: str, resource: Resource) -> dict[str, Any]:
    """A body that holds a list, under `name`, of rows with more around them (`one`)."""
    schema, single = _inlined(model.model_json_schema()), _inlined(one.model_json_schema())
    own = _model(resource)
    single["properties"] = {**own["properties"], **single["properties"]}
    single["required"] = own["required"]
    schema["properties"][name]["items"] = single
    return {"requestBody": {"required": True, **_json(schema)}}


def created(resource: Resource) -> dict[str, Any]:
    """The answer that holds a row which was made."""
    answer = row(resource, written=True)
    location = {"description": "The row.", "required": True, "schema": {"type": "string"}}
    return {**answer, "headers": {**answer["headers"], "Location": location}}


def _identity(resource: Resource) -> dict[str, Any]:
    return {resource.key: {**_column(resource.table.c[resource.key]), "description": "Made by the server if left out."}}


def beside(*names: str) -> dict[str, Any]:
    """A body that may hold these things that stand beside a row's fields."""
    schema = {"properties": {name: _BESIDE[name] for name in names}}
    return {"requestBody": {"content": {"application/json": {"schema": schema, "example": {"device_id": "tablet-1"}}}}}


def listing(resource: Resource) -> dict[str, Any]:
    """The filters of a list, and the lists that have a name."""
    properties = _model(resource)["properties"]
    schemas = {name: properties[name] for name in resource.filters}
    schemas |= {name: {"type": "boolean", "default": False} for name in resource.conditions}
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": schema} for name, schema in schemas.items()
        ]
    }
