"""Bodies of requests: bounded in size, depth and time before anybody looks at them.

They are read as strictly as a frame on the socket (no NaN, no lone surrogates).
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from syncserver.core import depth
from syncserver.core.errors import BodyTimeout, Malformed, TooLarge
from syncserver.engine.limits import Limits

_DIGITS = 20


class _Body(Request):
    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            most = self.limits.frame_bytes
            read = bytearray()
            bounded(announced(self), most)
            async for chunk in self.stream():
                read += chunk
                bounded(len(read), most)
            self._body = bytes(read)
        return self._body

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = orjson.loads(await self.body())
        return self._json

    async def shallow(self) -> None:
        """Raise TooLarge for JSON that is nested too deep; what is no JSON is FastAPI's to refuse."""
        body, most = await self.body(), self.limits.json_depth
        if depth.suspect(body, most):
            with suppress(orjson.JSONDecodeError):
                self._json = depth.loads(body, most)

    @property
    def limits(self) -> Limits:
        limits: Limits = self.app.state.house.limits
        return limits


class Route(APIRoute):
    """A route that takes only such bodies; every route that takes one is such a route."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own, given the body already read: what it raises itself is answered as every other error."""
        answer = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            body = _Body(request.scope, request.receive)
            await _read(body)
            return await answer(body)

        return bounded


async def _read(request: _Body) -> None:
    within_s = request.limits.body_s
    try:
        async with asyncio.timeout(within_s or None):
            await request.body()
        await request.shallow()
    except ClientDisconnect:  # nobody hears the answer, and it is no fault of ours
        raise Malformed("The request ended before its body did.") from None
    except TimeoutError:
        raise BodyTimeout(f"The body did not come within {within_s} s.") from None


def announced(request: Request) -> int:
    """What the request says of its body's length, before anything of it is read; 0 where it does not say."""
    length = request.headers.get("content-length", "0")[:_DIGITS]
    return int(length) if length.isascii() and length.isdigit() else 0


def bounded(length: int, most: int) -> None:
    """Raise TooLarge where a body is longer than that."""
    if length > most:
        raise TooLarge(f"The body is larger than {most} bytes.")
