"""Where a list goes on: the stamp and key of the last row shown, as an opaque token."""

import base64
import binascii
from datetime import datetime

import orjson

from syncserver.core import clock, values
from syncserver.core.errors import Invalid


def token(at: datetime, key: str) -> str:
    """The `next` of a list that ended with this row."""
    return base64.urlsafe_b64encode(orjson.dumps([clock.write(at), key])).decode().rstrip("=")


def place(after: str | None) -> tuple[datetime, str] | None:
    """The stamp and key in a token; raises Invalid for one that no list gave."""
    if after is None:
        return None
    try:
        at, key = orjson.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
        return clock.read(at), values.clean(key)
    except (ValueError, TypeError, binascii.Error):
        raise Invalid("`after` is not from a list.", [{"pointer": "/query/after", "detail": "unreadable"}]) from None
