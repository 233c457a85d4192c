"""Every error as a problem document (RFC 9457): what is wrong, where, and whether to try again."""

import math
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from syncserver.core import protocol
from syncserver.core.errors import (
    Invalid,
    Malformed,
    RateLimited,
    Refetch,
    Superseded,
    SyncError,
    Unauthorised,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
        "reason": {"type": "string", "description": "with refetch"},
        "row": {"description": "with superseded: the winner"},
        "conflict_id": {"type": ["string", "null"], "description": "with superseded"},
    },
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: these statuses answer with a problem document."""
    return {
        status: {"description": "A problem document (RFC 9457).", "content": {MEDIA_TYPE: {"schema": _SCHEMA}}}
        for status in statuses
    }


def problem(error: SyncError) -> Response:
    """The response for an error of our tree."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }
    headers: dict[str, str] = {}
    match error:
        case Invalid():
            document["errors"] = list(error.errors)
        case Refetch():
            document["reason"] = error.reason
        case Superseded():
            document |= {"row": error.row, "conflict_id": error.conflict_id}
        case Unauthorised():
            headers["WWW-Authenticate"] = "Bearer"
        case Unavailable() | RateLimited():
            headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
        case _:
            pass
    return answer(document, error.status, headers)


def answer(document: Mapping[str, Any], status: int, headers: Mapping[str, str] | None = None) -> Response:
    """A problem document as a response."""
    return Response(orjson.dumps(document), status, {"Cache-Control": "no-store", **(headers or {})}, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer our errors, FastAPI's and Starlette's in the same form."""

    async def ours(_: Request, error: Exception) -> Response:
        if not isinstance(error, SyncError):
            raise TypeError(type(error))
        return problem(error)

    async def malformed(_: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise TypeError(type(error))
        return problem(_validation(error))

    async def theirs(_: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise TypeError(type(error))
        title = str(error.detail)
        document = {"type": "about:blank", "title": title, "status": error.status_code, "detail": title, "code": "http"}
        return answer(document, error.status_code, error.headers)

    async def fault(_: Request, __: Exception) -> Response:
        return problem(SyncError("The server made a mistake; its log says which."))

    app.add_exception_handler(SyncError, ours)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, theirs)
    app.add_exception_handler(Exception, fault)


def _validation(error: RequestValidationError) -> SyncError:
    found = error.errors()
    if any(e["type"] == "json_invalid" for e in found):
        return Malformed("The body is not JSON.")
    places = [{"pointer": protocol.pointer(tuple(e["loc"])), "detail": str(e["msg"])} for e in found]
    return Invalid("; ".join(f"{p['pointer']}: {p['detail']}" for p in places), places)
