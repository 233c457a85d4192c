"""What browsers need to hear with every answer: what the page may do with it, and which other pages may read it."""

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from syncserver.api.polls import Polls
from syncserver.core import origin

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_OVER_TLS = (*_HEADERS, (b"strict-transport-security", b"max-age=31536000"))
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_SENT = ("Authorization", "Content-Type", "If-Match", "If-None-Match", "Last-Event-ID", "Sync-Csrf")
_READ = ("ETag", "Location", "Sync-Cursor", "Sync-Status", "Retry-After")


class Application(FastAPI):
    """The application with these headers around all of it, its answers to faults included.

    `origins`: of which web pages browsers may read the answers (see core.origin). `cookies`: those pages may have the
    browser send its cookies along; not where any page may ask.
    """

    def __init__(self, *, origins: Collection[str], cookies: bool = False, **options: Any) -> None:
        self._origins = origins
        self._cookies = cookies and origin.ANY not in origins
        super().__init__(**options)

    def build_middleware_stack(self) -> ASGIApp:
        """The whole application."""
        return Secured(_shared(Polls(super().build_middleware_stack()), self._origins, cookies=self._cookies))


def _shared(app: ASGIApp, origins: Collection[str], *, cookies: bool) -> ASGIApp:
    """The same, readable for pages of these origins; those of its own host need no leave."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=_SENT,
        expose_headers=_READ,
        allow_credentials=cookies,
    )


class Secured:
    """Adds the headers of security that a route has not set itself. Sockets pass untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = _OVER_TLS if scope.get("scheme") == "https" else _HEADERS

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers", ())
                names = {name.lower() for name, _ in given}
                message = {**message, "headers": [*given, *(pair for pair in wanted if pair[0] not in names)]}
            await send(message)

        await self._app(scope, receive, with_headers)
