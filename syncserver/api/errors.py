"""Every error as a problem document (RFC 9457): what is wrong, where, and whether to try again."""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from syncserver.core import protocol
from syncserver.core.errors import (
    BodyTimeout,
    Invalid,
    Malformed,
    RateLimited,
    Refetch,
    Superseded,
    SyncError,
    Unauthorised,
    Unavailable,
)
from syncserver.storage.database import Contention

MEDIA_TYPE = "application/problem+json"


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: these statuses answer with a problem document; `document` adds those that any route may answer."""
    return {status: {"$ref": f"#/components/responses/Problem{status}"} for status in statuses}


def problem(error: SyncError, **beside: Any) -> Response:
    """The response for an error of our tree; `beside`: what else the document holds."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        **beside,
    }
    headers: dict[str, str] = {}
    match error:
        case Invalid():
            document["errors"] = list(error.errors)
        case Refetch():
            document["reason"] = error.reason
        case Superseded():
            document |= {"row": error.row, "yours": error.yours, "differs": list(error.differs)}
            document["conflict_id"] = error.conflict_id
        case Unauthorised():
            headers["WWW-Authenticate"] = "Bearer"
        case BodyTimeout():
            headers["Connection"] = "close"  # what still drips in is nobody's business
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

    async def theirs(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise TypeError(type(error))
        status, title = error.status_code, str(error.detail)
        document = {"type": "about:blank", "title": title, "status": status, "detail": title, "code": _code(status)}
        headers = {"Allow": _allowed(request)} if status == HTTPStatus.METHOD_NOT_ALLOWED else error.headers
        return answer(document, status, headers)

    async def locked_out(_: Request, __: Exception) -> Response:
        return problem(Unavailable("Somebody else was in the way for too long; nothing was changed, try again."))

    async def fault(_: Request, __: Exception) -> Response:
        return problem(SyncError("The server made a mistake; its log says which."))

    app.add_exception_handler(SyncError, ours)
    app.add_exception_handler(Contention, locked_out)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, theirs)
    app.add_exception_handler(Exception, fault)


def _code(status: int) -> str:
    """What programs call an error of the framework: the name of its status."""
    return HTTPStatus(status).name.lower()


def _allowed(request: Request) -> str:
    """All methods that this place has: the framework names only those of the first route that it found.

    A place that a route names outright is not one that another leaves open.
    """
    place, routes = request.scope["path"], iter_route_contexts(request.app.routes)
    at_place = [route for route in routes if route.path and compile_path(route.path)[0].match(place)]
    named = [route for route in at_place if route.path == place]
    return ", ".join(sorted({method for route in named or at_place for method in route.methods or ()}))


def _validation(error: RequestValidationError) -> SyncError:
    found = error.errors()
    if any(e["type"] == "json_invalid" for e in found):
        return Malformed("The body is not JSON.")
    places = [{"pointer": protocol.pointer(tuple(e["loc"])), "detail": str(e["msg"])} for e in found]
    return Invalid("; ".join(f"{p['pointer']}: {p['detail']}" for p in places), places)
