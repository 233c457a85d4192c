"""What OpenAPI says of a resource's rows and bodies, from its model and its table."""

from typing import Any

import sqlalchemy as sa

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


def etag(of: str, pattern: str) -> dict[str, Any]:
    """An ETag header that is `of` something, between quotes."""
    schema = {"type": "string", "pattern": f'^"{pattern}"$'}
    return {"ETag": {"description": f"{of}, between quotes.", "required": True, "schema": schema}}


Answers = dict[int | str, dict[str, Any]]
"""What FastAPI takes as `responses`."""

OK: Answers = {200: {"headers": PRIVATE}}
DONE: Answers = {204: {"description": "It is done.", "headers": {**PRIVATE, **STATUS}}}


def _model(resource: Resource) -> dict[str, Any]:
    return _inlined(resource.model.model_json_schema())


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
        "items": {"type": "array", "items": _row(resource)},
        "next": {"type": ["string", "null"], "description": "Leads on, as `after`; null at the end."},
    }
    schema = {"type": "object", "required": list(properties), "properties": properties}
    return {"description": "A page of rows.", "headers": PRIVATE, **_json(schema)}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _row(resource: Resource) -> dict[str, Any]:
    own = _model(resource)["properties"]
    properties = {column.name: own.get(column.name) or _column(column) for column in resource.columns}
    properties["offset"] = {"type": "integer", "minimum": 1, "description": "Where it stands in the reader's log."}
    return {"type": "object", "required": list(properties), "properties": properties}


def _column(column: sa.Column[Any]) -> dict[str, Any]:
    """What PostgreSQL writes of a column that is not a client's to choose freely."""
    kind = _STAMP if isinstance(column.type, sa.DateTime) else {"type": "string"}
    return {"anyOf": [kind, {"type": "null"}]} if column.nullable else kind


def body(resource: Resource, *, whole: bool) -> dict[str, Any]:
    """The body of a put (whole) or a patch."""
    schema = _model(resource)
    schema["properties"] = {**schema["properties"], **_BESIDE}
    if not whole:
        schema.pop("required", None)
    return {"requestBody": {"required": True, **_json(schema)}}


def beside(*names: str) -> dict[str, Any]:
    """A body that may hold these things that stand beside a row's fields."""
    schema = {"properties": {name: _BESIDE[name] for name in names}}
    return {"requestBody": {"content": {"application/json": {"schema": schema, "example": {"device_id": "tablet-1"}}}}}


def listing(resource: Resource) -> dict[str, Any]:
    """The filters of a list."""
    properties = _model(resource)["properties"]
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": properties[name]} for name in resource.filters
        ]
    }
