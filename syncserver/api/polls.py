"""A plain poll without news, answered in front of the framework: most polls are such, and this is ten times cheaper.

Only what is in memory and beyond doubt is answered here, just as the route `changes.poll` would. Everything else, every
error among it, is the route's.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.types import ASGIApp

from syncserver.core import address
from syncserver.core.errors import SyncError
from syncserver.engine.house import House

PATH = "/api/v1/changes"
PRIVATE = "private, no-store"
_NAMES = rb"[a-z_]+(?:(?:,|%2C)[a-z_]+)*"
_PLAIN = re.compile(rb"(?:(?:cursor=([\w.]{1,80})|wait=0|limit=[1-9]\d{0,2}|resources=(" + _NAMES + rb"))(?:&|$))+")
_ETAG_MAX = 256

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Polls:
    """The application behind, and its polls without news in front of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        answer = _quiet(scope) if scope.get("path") == PATH and scope.get("method") == "GET" else None
        if answer is None:
            await self._app(scope, receive, send)
            return
        await send(answer)
        await send({"type": "http.response.body", "body": b""})


def _quiet(scope: Message) -> Message | None:
    """What tells this poller that there is no news; None where that is not known, or not all that there is to say."""
    house: House = scope["app"].state.house
    query = _PLAIN.fullmatch(scope["query_string"])
    token, etag = _shown(scope["headers"])
    if query is None or query[1] is None or token is None:
        return None
    cursor = query[1].decode()
    try:
        if query[2] is not None:
            house.wanted(query[2].decode().replace("%2C", ","))
        with house.limits.key_from(address.of(scope)):
            actor = house.keys.known(token)
        if actor is None or house.pull.quiet(actor.owner, cursor) is None:
            return None
        house.limits.request(actor.owner)
    except SyncError:  # which the route will meet, too
        return None
    holds = f'"{cursor}"'.encode()
    headers = [(b"cache-control", PRIVATE.encode()), (b"etag", holds), (b"sync-cursor", query[1])]
    return {"type": "http.response.start", "status": 304 if etag == holds else 204, "headers": headers}


def _shown(headers: list[tuple[bytes, bytes]]) -> tuple[str | None, bytes | None]:
    """The bearer token and the If-None-Match of a request; no token where there is anything odd about either."""
    found = [pair for pair in headers if pair[0] in {b"authorization", b"if-none-match"}]
    named = dict(found)
    etag = named.get(b"if-none-match")
    scheme, _, credentials = named.get(b"authorization", b"").decode("latin-1").partition(" ")
    plain = len(named) == len(found) and scheme.lower() == "bearer" and len(etag or b"") <= _ETAG_MAX
    return (credentials.strip() or None) if plain else None, etag
