"""The OpenAPI document, completed in one place: what any route can answer is said of every route, and once.

A route itself names only what is its own. Problem documents are described from the tree of errors, so that a new
error is in the document without a line here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from syncserver import resources
from syncserver.api.errors import MEDIA_TYPE
from syncserver.core import values
from syncserver.core.errors import SyncError

API = "/api/v1/"
_ANY = (400, 408, 413, 429, 503)
"""What any route of the interface may answer: unreadable, too slow, too large, too often, no database."""

_RETRY = {"Retry-After": {"description": "Seconds to wait.", "required": True, "schema": {"type": "string"}}}
_HEADERS: Mapping[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "Bearer.", "required": True, "schema": {"type": "string"}}},
    429: _RETRY,
    503: _RETRY,
}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence for people."},
        "code": {"type": "string", "description": "For programs."},
    },
}
_BESIDE: Mapping[int, dict[str, Any]] = {
    409: {
        "row": {"type": ["object", "null"], "description": "with superseded: the winner, as a change has it"},
        "yours": {"type": ["object", "null"], "description": "with superseded: the fields sent; null for a removal"},
        "differs": {
            "type": "array",
            "items": {"type": "string"},
            "description": "with superseded: the fields sent that the winner holds otherwise",
        },
        "conflict_id": {"type": ["string", "null"], "description": "with superseded: the record of the loser"},
    },
    410: {"reason": {"type": "string", "description": "epoch, owner, floor, ahead, unreadable, digest or claimed"}},
    422: {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "A JSON pointer into the request."},
                    "detail": {"type": "string"},
                },
            },
        }
    },
    503: {"parts": {"type": "object", "description": "of /readyz: what was looked at"}},
}
_TICKET = {"type": "apiKey", "in": "query", "name": "ticket", "description": "From POST /api/v1/tickets, good once."}
_COOKIE = {
    "type": "apiKey",
    "in": "cookie",
    "description": "A token. Whatever is not a GET needs a Sync-Csrf header beside it, and an origin that is let in.",
}
_FASTAPIS = ("HTTPValidationError", "ValidationError")


def install(app: FastAPI, cookie: str | None = None) -> None:
    """Let the application's document be the completed one, made when it is first asked for.

    `cookie`: by which a page may show its token, where the operator turned that on.
    """
    plain = app.openapi

    def completed() -> dict[str, Any]:
        if app.openapi_schema is None:
            complete(plain(), cookie)
        return plain()

    app.openapi = completed  # type: ignore[method-assign]  # the way that FastAPI has for this


def named(route: APIRoute) -> str:
    """An operation's id: what the route is about and what it does, such as `progress_put`."""
    return f"{route.tags[0]}_{route.name}".replace(" ", "_")


def complete(document: dict[str, Any], cookie: str | None = None) -> None:
    """Add to every operation what any may answer, and the components that are referred to."""
    components = document["components"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["responses"] = _answers(path, operation, with_cookie=cookie is not None)
            if cookie is not None and "security" in operation:
                operation["security"].append({"Cookie": []})
    if cookie is not None:
        components["securitySchemes"]["Cookie"] = {**_COOKIE, "name": cookie}
    _complete_schemas(components["schemas"])
    components["responses"] = {f"Problem{status}": _response(status, found) for status, found in _errors().items()}
    components["securitySchemes"]["Ticket"] = _TICKET


def _complete_schemas(schemas: dict[str, Any]) -> None:
    for name in _FASTAPIS:
        schemas.pop(name, None)
    mutation = values.Mutation.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(mutation.pop("$defs"))
    mutation["properties"]["resource"] = {"enum": list(resources.catalog())}
    schemas |= {"Mutation": mutation, "Problem": _PROBLEM}
    # the model reads each mutation on its own, so that one that is none is rejected alone
    schemas["PushBody"]["properties"]["mutations"]["items"] = {"$ref": "#/components/schemas/Mutation"}


def _answers(path: str, operation: Mapping[str, Any], *, with_cookie: bool) -> dict[str, Any]:
    named = operation["responses"]
    own = {status: _bare(answer) for status, answer in named.items() if status != "422"}
    statuses = set(_ANY) if path.startswith(API) else set()
    if "security" in operation:
        statuses |= {401, 403} if with_cookie else {401}
    if "422" in named or "parameters" in operation or "requestBody" in operation:
        statuses.add(422)
    problems = {str(status): _reference(status) for status in statuses if str(status) not in own}
    return dict(sorted((own | problems).items()))


def _bare(answer: dict[str, Any]) -> dict[str, Any]:
    """A reference without the description that FastAPI puts beside it."""
    return {"$ref": answer["$ref"]} if "$ref" in answer else answer


def _reference(status: int) -> dict[str, Any]:
    return {"$ref": f"#/components/responses/Problem{status}"}


def _response(status: int, errors: list[type[SyncError]]) -> dict[str, Any]:
    """What a status means: every error that has it, by its code."""
    codes = {error.code: (error.__doc__ or "").replace("\n    ", " ") for error in errors}
    own = {"status": {"const": status}, "code": {"enum": list(codes)}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Problem"}, {"properties": own | _BESIDE.get(status, {})}]}
    example = {"type": "about:blank", "title": errors[0].title, "status": status, "detail": codes[errors[0].code]}
    response: dict[str, Any] = {
        "description": "\n".join(f"`{code}`: {sentence}" for code, sentence in codes.items()),
        "content": {MEDIA_TYPE: {"schema": schema, "example": {**example, "code": errors[0].code}}},
    }
    if status in _HEADERS:
        response["headers"] = _HEADERS[status]
    return response


def _errors() -> dict[int, list[type[SyncError]]]:
    found: dict[int, list[type[SyncError]]] = {}
    for error in _tree(SyncError):
        if error.status != SyncError.status:  # a fault of ours is never promised
            found.setdefault(error.status, []).append(error)
    return dict(sorted(found.items()))


def _tree(root: type[SyncError]) -> Iterator[type[SyncError]]:
    for error in root.__subclasses__():
        yield error
        yield from _tree(error)
