"""Server-sent events: GET /api/v1/changes/stream. The frames of the socket, one event each, over plain HTTP.

An event's `id` is the cursor that its receiver then holds, so a browser's own Last-Event-ID resumes.
"""

import asyncio
import logging
import random
import re
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from syncserver.core import address, encode, frames, values
from syncserver.core.actor import Actor
from syncserver.core.cursor import Cursor
from syncserver.core.errors import RateLimited, Refetch, SyncError, Unauthorised, Unavailable
from syncserver.engine import shown
from syncserver.engine.following import Following
from syncserver.engine.house import Guest, House
from syncserver.engine.outgoing import Outgoing
from syncserver.engine.term import EXPIRED, Term
from syncserver.engine.together import first_of
from syncserver.hub.news import Wanted
from syncserver.transports import line

log = logging.getLogger(__name__)
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
        wire = _Wire(partial(line.abort, scope))
        listener = _Listener(self._house, self._actor, self._device_id, wire)
        try:
            listener.begin(self._wanted, self._cursor)
            await first_of(wire.carry(send), _left(receive))
        finally:
            listener.leave()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _nothing() -> None:
    """Nobody waits for it."""


class _Wire:
    """Events over an answer that goes on (see engine.wire): one task writes, as an ASGI server wants it."""

    def __init__(self, abort: Callable[[], None]) -> None:
        self.abort = abort
        self.blocked = False
        self.resumed: Callable[[], None] = _nothing
        self._due: list[bytes] = []
        self._closed = False
        self._wake = asyncio.Event()

    @staticmethod
    def form(frame: bytes) -> bytes:
        """An event."""
        return event(frame)

    def write(self, pieces: list[bytes]) -> None:
        """Send these as one; until the peer took what was sent before, there is no more."""
        self._due += pieces
        self.blocked = True
        self._wake.set()

    def close(self, code: int, reason: str) -> None:  # noqa: ARG002 - a stream ends without a code
        """End the answer."""
        self._closed = True
        self._wake.set()

    async def carry(self, send: Callable[[Message], Awaitable[None]]) -> None:
        """Write until it is closed."""
        while not self._closed:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, []
            if due:
                await _written(send, b"".join(due))
            self.blocked = False
            self.resumed()


class _Listener:
    """Who follows over a stream, from its coming to its going (see engine.wire.Speaker)."""

    def __init__(self, house: House, actor: Actor, device_id: str | None, wire: _Wire) -> None:
        self._house = house
        self._wire = wire
        self._out = Outgoing(wire, house.flusher, self)
        wire.resumed = self._out.resumed
        self._guest = Guest(actor.owner, self._out.goodbye, self._out.say, listens_for=device_id, actor=actor)
        self._following = Following(house, actor.owner, self._out, self)
        over = partial(self._out.goodbye, EXPIRED, "the token has expired", 0)
        self._term = Term(house.now, lambda _in_s: None, over)
        self._actor = actor
        self._last: asyncio.Task[None] | None = None

    def begin(self, wanted: Wanted, cursor: str | None) -> None:
        """Come in and follow; where that cannot be, the last event says why."""
        try:
            self._house.entered(self._guest)
            self._term.until(self._actor.expires_at)
            self._house.pulse.join(self)
            self._following.begin(wanted, Cursor.parse(cursor) if cursor is not None else None)
        except SyncError as error:
            self.unfollowed(error)

    async def _refetched(self, error: Refetch) -> None:
        """Where the key does not hold any more, that says more: the log of a session that ended is gone, too."""
        try:
            await self._house.keys.hold(self._actor)
        except Unauthorised as ended:
            self._guest.dismiss(ended)
        except Unavailable:
            pass
        self._out.end(0, "refetch", encode.frame(frames.RefetchFrame(reason=error.reason)))

    def leave(self) -> None:
        """Nobody is here any more."""
        if self._last is not None:
            self._last.cancel()
        self._term.stop()
        self._following.end()
        self._house.pulse.leave(self)
        self._house.left(self._guest)
        self._out.closed()
        self._wire.resumed = _nothing

    def beat(self) -> None:
        """An interval is over: say that somebody is here, and how far it is."""
        self._out.offer(_COMMENT)
        self._following.still_ready()

    def drained(self) -> None:
        """All that was due is written."""
        self._following.drained()

    def ended(self, code: int, reason: str) -> None:
        """The last word is said."""
        self._wire.close(code, reason)

    def begun(self) -> None:
        """What follows goes on by itself."""

    def unfollowed(self, error: Exception) -> None:
        """A refetch is the last event: the client comes back without a cursor. Else it comes back as it is told."""
        if isinstance(error, Refetch):
            self._last = asyncio.create_task(self._refetched(error))
            return
        if not isinstance(error, Unavailable | RateLimited):
            log.error("a stream ended by a fault of the server", exc_info=error)
            error = Unavailable("The log cannot be read just now; try again.")
        goodbye = frames.Goodbye(code=error.close, retry_after_s=error.retry_after_s)
        self._out.end(error.close, error.title, encode.frame(goodbye))


async def _written(send: Callable[[Message], Awaitable[None]], body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


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
