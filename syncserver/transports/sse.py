"""Server-sent events: GET /api/v1/changes/stream. The frames of the socket, one event each, over plain HTTP.

An event's `id` is the cursor that its receiver then holds, so a browser's own Last-Event-ID resumes.
"""

import random
import re
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from syncserver.core import address, encode, frames, values
from syncserver.core.actor import Actor
from syncserver.core.cursor import Cursor
from syncserver.core.errors import RateLimited, Refetch, Unauthorised, Unavailable
from syncserver.engine import shown
from syncserver.engine.following import Following, deliver
from syncserver.engine.house import Guest, House
from syncserver.engine.outgoing import Outgoing
from syncserver.engine.term import EXPIRED, Term
from syncserver.engine.together import first_of
from syncserver.engine.wire import Ended, Gone
from syncserver.hub.news import Wanted
from syncserver.transports import line

_RETRY_MS = (1_000, 3_000)
_COMMENT = b": still here\n\n"
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "private, no-store",
    "X-Accel-Buffering": "no",
}
_EVENT: dict[str, Any] = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string", "description": "The cursor after it."},
        "event": {"enum": ["changes", "ready", "conflict", "refetch", "goodbye"]},
        "data": {"type": "string", "contentMediaType": "application/json", "description": "The frame of that type."},
    },
}
_EXAMPLE = 'id: 0f3c.c10ce1ca.7\nevent: ready\ndata: {"type":"ready","cursor":"0f3c.c10ce1ca.7","server_time":".."}\n\n'
_KIND = re.compile(rb'\{"type":"(\w+)",(?:"from":"[^"]*","to":"([^"]*)"|"cursor":"([^"]*)")?')
_REFETCH = b'{"type":"refetch"'

Message = MutableMapping[str, Any]


def event(frame: bytes) -> bytes:
    """A frame as an event; its text is not touched. Its id is the cursor after it; a refetch takes the id away."""
    found = _KIND.match(frame)
    if found is None:
        return frame  # a comment
    kind = found[1]
    cursor = found[2] or found[3]
    named = b"id: " + cursor + b"\n" if cursor else b"id:\n" if kind == b"refetch" else b""
    return named + b"event: " + kind + b"\ndata: " + frame + b"\n\n"


class Stream(Response):
    """An answer that goes on until the client leaves, its token ends, the server drains, or it has to fetch again."""

    def __init__(
        self, house: House, actor: Actor, wanted: Wanted, cursor: str | None, device_id: str | None = None
    ) -> None:
        super().__init__(None, 200, _HEADERS)
        del self.headers["content-length"]
        self._house = house
        self._actor = actor
        self._wanted = wanted
        self._cursor = cursor
        self._device_id = device_id

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Stream to the end; raises RateLimited before anything was sent."""
        with self._house.limits.connected(address.of(scope)):
            self._house.room(self._actor.owner)
            await self._stream(scope, receive, send)

    async def _stream(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await _written(send, b"retry: %d\n\n" % random.randint(*_RETRY_MS))  # noqa: S311 - jitter, not a secret
        out = Outgoing(partial(_sent, send), partial(line.abort, scope))
        try:
            await first_of(self._follow(out), _left(receive))
        except (Ended, Gone):
            pass
        finally:
            out.closed()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _follow(self, out: Outgoing) -> None:
        guest = Guest(self._actor.owner, out.goodbye, out.offer, listens_for=self._device_id, actor=self._actor)
        following = Following(self._house, guest.owner, out)
        term = Term(self._house.now, lambda _in_s: None, partial(out.goodbye, EXPIRED, "the token has expired", 0))
        try:
            self._house.entered(guest)
            term.until(self._actor.expires_at)
            await following.begin(self._wanted, Cursor.parse(self._cursor) if self._cursor is not None else None)
            await deliver(self._house, out, following, _COMMENT)
        except Refetch as error:
            await out.send(encode.frame(frames.RefetchFrame(reason=error.reason)))
        except (Unavailable, RateLimited) as error:
            await out.send(encode.frame(frames.Goodbye(code=error.close, retry_after_s=error.retry_after_s)))
        finally:
            term.stop()
            following.end()
            self._house.left(guest)


async def _written(send: Callable[[Message], Awaitable[None]], body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _sent(send: Callable[[Message], Awaitable[None]], frame: bytes) -> None:
    """Send a frame. A refetch is the last one: the client comes back without a cursor."""
    await _written(send, event(frame))
    if frame.startswith(_REFETCH):
        raise Ended(0, "refetch")


async def _left(receive: Callable[[], Awaitable[Message]]) -> None:
    """Ends when the client goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass


router = APIRouter(tags=["changes"])


@router.get(
    "/changes/stream",
    summary="Changes as they happen, as server-sent events",
    response_class=Response,
    responses={
        200: {
            "description": "Events until either side ends it.",
            "content": {"text/event-stream": {"itemSchema": _EVENT, "example": _EXAMPLE}},
        }
    },
    openapi_extra={"security": [{"HTTPBearer": []}, {"Ticket": []}]},
)
async def stream(
    request: Request,
    cursor: Annotated[str | None, Query(max_length=128, description="Go on from here; leave it out to begin.")] = None,
    resources: Annotated[
        str | None, Query(max_length=1024, description="Names, separated by commas; all if left out.")
    ] = None,
    ticket: Annotated[
        str | None, Query(max_length=128, include_in_schema=False)  # the document has it as a way to sign in
    ] = None,
    device_id: Annotated[
        values.Name | None, Query(description="The device that listens: it hears when a version that it wrote lost.")
    ] = None,
    last_event_id: Annotated[
        str | None, Header(max_length=128, description="The id of the last event; wins over `cursor`.")
    ] = None,
) -> Response:
    """Events `changes`, `ready`, `conflict`, `refetch` (it is the last: begin again without a cursor) and `goodbye`."""
    house: House = request.app.state.house
    wanted = house.wanted(resources)
    with house.limits.key_from(address.of(request.scope)):
        actor = await _who(house, request, ticket)
    return Stream(house, actor, wanted, last_event_id or cursor, device_id)


async def _who(house: House, request: Request, ticket: str | None) -> Actor:
    token = shown.token(house.cookie, request.method, request.headers, request.query_params)
    if token is not None:
        return await house.keys.by_token(token)
    if ticket is not None:
        return await house.keys.by_ticket(ticket)
    raise Unauthorised("This needs an Authorization header with a bearer token, or a ticket.")
