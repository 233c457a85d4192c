"""Where a list goes on: what it goes by, and the key, of the last row shown, as an opaque token."""

import base64
import binascii
from datetime import datetime
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter

from syncserver.core import clock, values
from syncserver.core.errors import Invalid
from syncserver.storage.resource import Resource

_By = TypeVar("_By", str, int)


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
