"""What conversations have beyond other resources: to begin one, and its messages in the order of their writing.

The routes of `messages` show them whichever conversation they belong to, newest first.
"""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Header, Query, Response

from syncserver.api import describe, errors, making, paging, proposal
from syncserver.api.auth import By, InHouse
from syncserver.api.body import Route
from syncserver.api.proposal import Id
from syncserver.api.resources import LIST_MAX
from syncserver.core import clock
from syncserver.core.errors import NotFound
from syncserver.storage.resource import Catalog, Resource
from syncserver.storage.rows import Listed
from syncserver.storage.threads import Span

Raw = dict[str, Any]
_HOME = "conversation_id"
_Body = Annotated[Raw, Body()]
_Token = Annotated[str | None, Query(max_length=4096, description="`next` or `previous` of an answer before.")]
_IfMatch = Annotated[str | None, Header(max_length=64, description="The ETag of the row as you know it.")]


def router(catalog: Catalog) -> APIRouter:
    """The routes, beside those that every resource has."""
    conversations, messages = catalog["conversations"], catalog["messages"]
    routes = APIRouter(prefix=f"/{conversations.path}", tags=[conversations.name], route_class=Route)
    _begin(routes, conversations)
    _messages(routes, messages)
    _write(routes, messages)
    return routes


def _begin(routes: APIRouter, conversations: Resource) -> None:
    @routes.post(
        "",
        summary="Begin a conversation",
        status_code=201,
        responses={201: describe.created(conversations), **errors.responses(403, 404, 409)},
        openapi_extra=describe.beginning(conversations),
    )
    async def begin(house: InHouse, by: By, body: _Body, if_match: _IfMatch = None) -> Response:
        """`id` is a UUID that you make; left out, the server makes one. Send `mutation_id` again with a retry.

        An id that is there already is written as PUT does.
        """
        return await making.made(house, by, conversations, making.new(conversations, body, if_match))


def _messages(routes: APIRouter, messages: Resource) -> None:
    @routes.get(
        "/{key}/messages",
        summary="The messages of a conversation",
        responses={200: describe.pages(messages), **errors.responses(404)},
    )
    async def read(
        house: InHouse,
        by: By,
        key: Id,
        limit: Annotated[int, Query(ge=1, le=LIST_MAX, description="Messages in one answer.")] = 100,
        after: _Token = None,
        before: _Token = None,
        latest: Annotated[bool, Query(description="The newest, not the oldest, where neither token is given.")] = False,
    ) -> Response:
        """Oldest first, by `created_at` and then by `id`, whichever way you go.

        `next`, as `after`, leads to newer ones, and is null at the end; `previous`, as `before`, to older ones, and is
        null at the beginning. With `latest`, the first answer is the end of the conversation.
        """
        token, name, backward = paging.way(after, before)
        backward = backward or (latest and token is None)
        span = Span(limit + 1, paging.row_place(messages, token, name), backward)
        found = await house.pull.thread(by.owner, messages.name, key, span)
        if found is None:
            raise NotFound("There is no such conversation.")
        return paging.page(found, limit, _token, (token, name, backward))


def _write(routes: APIRouter, messages: Resource) -> None:
    @routes.post(
        "/{key}/messages",
        summary="Write a message",
        status_code=201,
        responses={201: describe.created(messages), **errors.responses(403, 404, 409)},
        openapi_extra=describe.beginning(messages, but=_HOME),
    )
    async def write(house: InHouse, by: By, key: Id, body: _Body, if_match: _IfMatch = None) -> Response:
        """It makes the conversation as new as itself, in the same transaction. `id` and retries as of a conversation.

        To let it grow, PATCH its `content` under /messages.
        """
        if str(body.get(_HOME, key)).lower() != key:
            raise proposal.wrong(f"/{_HOME}", "not that of the path")
        return await making.made(house, by, messages, making.new(messages, {**body, _HOME: key}, if_match))


def _token(row: Listed) -> str:
    return paging.token(clock.read(orjson.loads(row.json)["created_at"]), row.key)
