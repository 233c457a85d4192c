"""What OpenAPI says of a resource's rows and bodies, from its model and its table."""

from typing import Any

from syncserver.storage.resource import Resource

_BESIDE: dict[str, Any] = {
    "updated_at": {"type": "string", "format": "date-time", "description": "When it was written; now if left out."},
    "device_id": {"type": "string", "maxLength": 128, "description": "Which device wrote it."},
    "device_name": {"type": "string", "maxLength": 128, "description": "What people call that device."},
    "base": {"type": "integer", "description": "The offset at which you last saw the row (or use If-Match)."},
    "policy": {"type": "string", "enum": ["last-write-wins", "server-wins", "client-wins"]},
    "mutation_id": {"type": "string", "format": "uuid", "description": "Send it again with a retry."},
}


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


def row(resource: Resource) -> dict[str, Any]:
    """The answer that holds one row."""
    properties: dict[str, Any] = {column.name: {} for column in resource.columns}
    properties |= _model(resource)["properties"]
    properties |= {"updated_at": _BESIDE["updated_at"], "offset": {"type": "integer"}}
    schema = {"type": "object", "properties": properties}
    return {"description": "The row as it is now.", "content": {"application/json": {"schema": schema}}}


def body(resource: Resource, *, whole: bool) -> dict[str, Any]:
    """The body of a put (whole) or a patch."""
    schema = _model(resource)
    schema["properties"] = {**schema["properties"], **_BESIDE}
    if not whole:
        schema.pop("required", None)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def listing(resource: Resource) -> dict[str, Any]:
    """The filters of a list."""
    properties = _model(resource)["properties"]
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": properties[name]} for name in resource.filters
        ]
    }
