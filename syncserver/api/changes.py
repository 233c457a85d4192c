"""GET /api/v1/changes: the log over plain HTTP, from the same cursor as every other transport."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from syncserver.api import errors
from syncserver.api.auth import By, InHouse
from syncserver.core import encode, frames
from syncserver.core.change import Page
from syncserver.core.cursor import Cursor
from syncserver.core.errors import Invalid

router = APIRouter(tags=["changes"])
PAGE_MAX = 1000
_PRIVATE = {"Cache-Control": "private, no-store"}


@router.get(
    "/changes",
    summary="What changed since a cursor",
    response_model=frames.ChangesAnswer,
    responses={
        204: {"description": "No news; `Sync-Cursor` is the cursor to go on from."},
        304: {"description": "No news since the cursor in If-None-Match."},
        **errors.responses(401, 410, 422, 503),
    },
)
async def poll(
    house: InHouse,
    by: By,
    cursor: Annotated[
        str | None, Query(max_length=128, description="From the last answer; leave it out to begin.")
    ] = None,
    resources: Annotated[
        str | None, Query(max_length=1024, description="Names, separated by commas; all if left out.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="Rows in one answer.")] = 500,
    wait: Annotated[int, Query(ge=0, le=60, description="Seconds to wait for news; this version answers at once.")] = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Rows in order of offset. While `more` is true, ask again at once with the new cursor."""
    if wait:
        raise Invalid("This version has no long-poll: use wait=0.", [{"pointer": "/query/wait", "detail": "must be 0"}])
    at = Cursor.parse(cursor) if cursor is not None else None
    wanted = house.pull.known(resources.split(",")) if resources is not None else None
    asked_at = house.now()
    page = await house.pull.page(by.owner, at, wanted, limit)
    until = str(Cursor.at(page.epoch, by.owner, page.until))
    headers = {**_PRIVATE, "ETag": f'"{until}"', "Sync-Cursor": until}
    if if_none_match == f'"{until}"' and not page.more:
        return Response(None, 304, headers)
    if _no_news(page):
        return Response(None, 204, headers)
    return Response(encode.changes_answer(page, asked_at), 200, headers, "application/json")


def _no_news(page: Page) -> bool:
    return not page.changes and not page.more
