"""Where a list goes on: what it goes by, and the key, of the last row shown, as an opaque token; and its pages."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import orjson
from fastapi import Response
from pydantic import TypeAdapter

from syncserver.api import proposal, writing
from syncserver.core import clock, values
from syncserver.core.errors import Invalid
from syncserver.storage.resource import Resource
from syncserver.storage.rows import Listed

_By = TypeVar("_By", str, int)
Way = tuple[str | None, str, bool]
"""The token of a page, its parameter, and whether it leads backward."""


def token(at: datetime, key: str) -> str:
    """The `next` of a list that ended with this row."""
    return ordered(clock.write(at), key)


def ordered(by: str | int, key: str) -> str:
    """The same for a list that goes by something else than stamps."""
    return base64.urlsafe_b64encode(orjson.dumps([by, key])).decode().rstrip("=")


def place(after: str | None, name: str = "after") -> tuple[datetime, str] | None:
    """The stamp and key in a token, the parameter `name`; raises Invalid for one that no list gave."""
    if after is None:
        return None
    try:
        at, key = _read(after)
        return clock.read(at), values.clean(key)
    except (ValueError, TypeError, binascii.Error):
        raise _unreadable(name) from None


def row_place(resource: Resource, token: str | None, name: str) -> tuple[datetime, str] | None:
    """The same, for a list that goes by keys as this resource keeps them."""
    found = place(token, name)
    try:
        return found and (found[0], resource.canonical(found[1]))
    except ValueError:
        raise _unreadable(name) from None


def ordered_place(resource: Resource, token: str | None, name: str, order: TypeAdapter[_By]) -> tuple[_By, str] | None:
    """What the list goes by (as `order` reads it) and the key in a token, the parameter `name`; raises Invalid."""
    if token is None:
        return None
    try:
        by, key = _read(token)
        return order.validate_python(by, strict=True), resource.canonical(values.clean(key))
    except (ValueError, TypeError, binascii.Error):
        raise _unreadable(name) from None


def _read(token: str) -> Any:
    return orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))


def _unreadable(name: str) -> Invalid:
    return Invalid(f"`{name}` is not from a list.", [{"pointer": f"/query/{name}", "detail": "unreadable"}])


def way(after: str | None, before: str | None) -> Way:
    """The token of a page, its parameter, and whether it leads backward; raises Invalid for two of them."""
    if after is not None and before is not None:
        raise proposal.wrong("/query/before", "not with `after`: one way at a time")
    return (before, "before", True) if before is not None else (after, "after", False)


def page(
    found: Sequence[Listed],
    limit: int,
    token: Callable[[Listed], str],
    way: Way,
    **headers: str,
) -> Response:
    """At most `limit` of these, which may be one more, and where they go on at either end."""
    return Response(
        orjson.dumps(paged(found, limit, token, way)), 200, {**writing.PRIVATE, **headers}, "application/json"
    )


def paged(found: Sequence[Listed], limit: int, token: Callable[[Listed], str], way: Way) -> dict[str, Any]:
    """The same as what is to be written."""
    given, _, backward = way
    more, resumed = len(found) > limit, given is not None
    rows = found[-limit:] if backward else found[:limit]
    earlier, later = (more, resumed) if backward else (resumed, more)
    return {
        "items": [orjson.Fragment(writing.as_json(row)) for row in rows],
        "next": token(rows[-1]) if rows and later else None,
        "previous": token(rows[0]) if rows and earlier else None,
    }
