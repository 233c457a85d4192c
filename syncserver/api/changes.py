"""GET /api/v1/changes: the log over plain HTTP, at once or by long-poll, from the same cursor as every transport."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from syncserver.api import describe, errors
from syncserver.api.auth import By, InHouse
from syncserver.api.polls import PRIVATE
from syncserver.core import address, bodies, encode, values
from syncserver.core.change import Page
from syncserver.core.cursor import Cursor
from syncserver.engine import waiting
from syncserver.engine.together import first_of

router = APIRouter(tags=["changes"])
PAGE_MAX = 1000
_PRIVATE = {"Cache-Control": PRIVATE}
_HEADERS = {
    **describe.PRIVATE,
    **describe.etag("The cursor to go on from", '[^"]+'),
    "Sync-Cursor": {"description": "The cursor to go on from.", "required": True, "schema": {"type": "string"}},
}


@router.get(
    "/changes",
    summary="What changed since a cursor",
    response_model=bodies.ChangesAnswer,
    responses={
        200: {"headers": _HEADERS},
        204: {"description": "No news; `Sync-Cursor` is the cursor to go on from.", "headers": _HEADERS},
        304: {"description": "No news since the cursor in If-None-Match.", "headers": _HEADERS},
        **errors.responses(410),
    },
)
async def poll(
    request: Request,
    house: InHouse,
    by: By,
    cursor: Annotated[
        str | None, Query(max_length=128, description="From the last answer; leave it out to begin.")
    ] = None,
    resources: Annotated[
        str | None, Query(max_length=1024, description="Names, separated by commas; all if left out.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="Rows in one answer.")] = 500,
    wait: Annotated[
        int, Query(ge=0, le=values.WAIT_MAX_S, description="Seconds to wait for news; 0 answers at once.")
    ] = 0,
    if_none_match: Annotated[
        str | None, Header(max_length=256, description="The ETag of an answer: 304 if it still holds.")
    ] = None,
) -> Response:
    """Rows in order of offset. While `more` is true, ask again at once with the new cursor."""
    at = Cursor.parse(cursor) if cursor is not None else None
    query = waiting.Query(by.owner, at, house.wanted(resources), limit)
    if wait:
        with house.limits.connected(address.of(request.scope)):
            found = await first_of(waiting.news(house, query, wait, by), _left(request))
    else:
        found = await waiting.page(house, query)
    return _answer(*found, if_none_match) if found is not None else Response(None, 204)  # which nobody hears


async def _left(request: Request) -> None:
    """Ends when the client goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer(page: Page, read_at: datetime, if_none_match: str | None) -> Response:
    until = str(page.cursor_until)
    headers = {**_PRIVATE, "ETag": f'"{until}"', "Sync-Cursor": until}
    if if_none_match == f'"{until}"' and not page.more:
        return Response(None, 304, headers)
    if not page.changes and not page.more:
        return Response(None, 204, headers)
    return Response(encode.changes_answer(page, read_at), 200, headers, "application/json")
