"""Where a list goes on: the stamp and key of the last row shown, as an opaque token."""

import base64
import binascii
from datetime import datetime

import orjson

from syncserver.core import clock, values
from syncserver.core.errors import Invalid
from syncserver.storage.resource import Resource


def token(at: datetime, key: str) -> str:
    """The `next` of a list that ended with this row."""
    return base64.urlsafe_b64encode(orjson.dumps([clock.write(at), key])).decode().rstrip("=")


def place(after: str | None, name: str = "after") -> tuple[datetime, str] | None:
    """The stamp and key in a token, the parameter `name`; raises Invalid for one that no list gave."""
    if after is None:
        return None
    try:
        at, key = orjson.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
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


def _unreadable(name: str) -> Invalid:
    return Invalid(f"`{name}` is not from a list.", [{"pointer": f"/query/{name}", "detail": "unreadable"}])
