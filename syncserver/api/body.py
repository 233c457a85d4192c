"""Bodies of requests: bounded, and read as strictly as a frame on the socket (no NaN, no lone surrogates)."""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from syncserver.core import values
from syncserver.core.errors import Malformed, TooLarge


class _Body(Request):
    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            read = bytearray()
            async for chunk in self.stream():
                read += chunk
                if len(read) > values.FRAME_BYTES:
                    raise TooLarge(f"The body is larger than {values.FRAME_BYTES} bytes.")
            self._body = bytes(read)
        return self._body

    async def json(self) -> Any:
        return orjson.loads(await self.body())


class Route(APIRoute):
    """A route that takes only such bodies."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own, given the body already read: what it raises itself is answered as every other error."""
        answer = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            request = _Body(request.scope, request.receive)
            try:
                await request.body()
            except ClientDisconnect:  # nobody hears the answer, and it is no fault of ours
                raise Malformed("The request ended before its body did.") from None
            return await answer(request)

        return bounded
