"""What relates the nodes of a session: from one node to another, or to itself."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response
from pydantic import Field

from syncserver.api import describe, errors, making, nested, paging, proposal, writing
from syncserver.api.auth import By, InHouse
from syncserver.api.body import Route
from syncserver.api.nested import IfMatch, RelationshipId, Session
from syncserver.api.resources import LIST_MAX
from syncserver.core import within
from syncserver.storage.related import Asked
from syncserver.storage.resource import Catalog, Resource

Raw = dict[str, Any]
_PATH = "/{key}/relationships"
_ONE = f"{_PATH}/{{relationship_id}}"
_EXAMPLE = {"from_node": "N001", "to_node": "N002", "type": "hunts", "weight": 0.5}
_Body = Annotated[Raw, Body()]
_NodeId = Annotated[str, Field(pattern=f"^{within.NUMBERED.pattern}$")]


def router(catalog: Catalog) -> APIRouter:
    """The routes under a session."""
    relationships = catalog["session_relationships"]
    routes = APIRouter(prefix="/sessions", tags=["workspace relationships"], route_class=Route)
    _begin(routes, relationships)
    _listed(routes, relationships)
    _one(routes, relationships)
    _change(routes, relationships)
    return routes


def _begin(routes: APIRouter, relationships: Resource) -> None:
    own = {"type": "string", "pattern": "^[A-Za-z0-9._~-]{1,64}$", "description": "Made by the server if left out."}

    @routes.post(
        _PATH,
        summary="Relate two nodes",
        status_code=201,
        responses={201: describe.created(relationships), **errors.responses(403, 404, 409)},
        openapi_extra=describe.nested(
            relationships, "session_id", more={"relationship_id": own}, example={**_EXAMPLE, "relationship_id": "hunt"}
        ),
    )
    async def begin(house: InHouse, by: By, key: Session, body: _Body, if_match: IfMatch = None) -> Response:
        """Both nodes are of this session. Send `mutation_id` again with a retry."""
        made = proposal.mutation("put", relationships, None, _fields(relationships, key, body), if_match)
        given = body.get("relationship_id")
        named = nested.made_key(relationships, key, made["mutation_id"])
        if given is not None:
            named = nested.key(relationships, key, given, "/relationship_id")
        return await making.made(house, by, relationships, {**made, "key": named}, place=_place)


def _listed(routes: APIRouter, relationships: Resource) -> None:
    @routes.get(
        _PATH,
        summary="The relationships of a session",
        responses={200: describe.pages(relationships, ("further", "earlier")), **errors.responses(404)},
    )
    async def listed(
        house: InHouse,
        by: By,
        key: Session,
        limit: Annotated[int, Query(ge=1, le=LIST_MAX, description="Relationships in one answer.")] = 100,
        after: nested.Token = None,
        before: nested.Token = None,
        from_node: Annotated[_NodeId | None, Query(description="Those that begin here.")] = None,
        to_node: Annotated[_NodeId | None, Query(description="Those that end here.")] = None,
        node: Annotated[_NodeId | None, Query(description="Those that begin or end here.")] = None,
        type: Annotated[str | None, Query(max_length=64, description="Those of this type.")] = None,  # noqa: A002 - its name in the query
    ) -> Response:
        """By `relationship_id`. `next`, as `after`, leads on, `previous`, as `before`, back; each may be null."""
        way = paging.way(after, before)
        at = paging.ordered_place(relationships, way[0], way[1], nested.TEXT)
        ends = {"from_key": _end(key, from_node), "to_key": _end(key, to_node), "type": type}
        where = {name: value for name, value in ends.items() if value is not None}
        asked = Asked(limit + 1, where, _end(key, node), at and at[1], way[2])
        found = await house.pull.related(by.owner, relationships.name, key, asked)
        return nested.page(found, limit, lambda row: paging.ordered("", row.key), way)


def _one(routes: APIRouter, relationships: Resource) -> None:
    @routes.get(_ONE, summary="One relationship", responses={200: describe.row(relationships), **errors.responses(404)})
    async def one(house: InHouse, by: By, key: Session, relationship_id: RelationshipId) -> Response:
        """The row as it is. `ETag` is its offset: send it as If-Match to write knowing it."""
        return await writing.shown(house, by, relationships, _key(relationships, key, relationship_id))

    @routes.delete(
        _ONE,
        summary="Remove a relationship",
        status_code=204,
        responses={**describe.DONE, **errors.responses(403, 404, 409)},
    )
    async def remove(
        house: InHouse,
        by: By,
        key: Session,
        relationship_id: RelationshipId,
        updated_at: nested.Stamp = None,
        device_id: nested.DeviceId = None,
        if_match: IfMatch = None,
    ) -> Response:
        """The nodes stay."""
        row = _key(relationships, key, relationship_id)
        return await nested.delete(house, by, relationships, row, (updated_at, device_id), if_match)


def _change(routes: APIRouter, relationships: Resource) -> None:
    written: describe.Answers = {200: describe.row(relationships, written=True), **errors.responses(403, 404, 409)}

    @routes.put(
        _ONE,
        summary="Write a whole relationship",
        responses=written,
        openapi_extra=describe.nested(relationships, "session_id", example=_EXAMPLE),
    )
    async def put(
        house: InHouse, by: By, key: Session, relationship_id: RelationshipId, body: _Body, if_match: IfMatch = None
    ) -> Response:
        """The row becomes this; a newer write wins over it (409, with the winner)."""
        row, fields = _key(relationships, key, relationship_id), _fields(relationships, key, body)
        return await nested.put(house, by, relationships, row, fields, if_match)

    @routes.patch(
        _ONE,
        summary="Write some fields of a relationship",
        responses=written,
        openapi_extra=describe.nested(relationships, "session_id", example={"weight": 0.75}, whole=False),
    )
    async def patch(
        house: InHouse, by: By, key: Session, relationship_id: RelationshipId, body: _Body, if_match: IfMatch = None
    ) -> Response:
        """A merge patch (RFC 7396) of the row as it is."""
        row, fields = _key(relationships, key, relationship_id), _fields(relationships, key, body)
        return await nested.patch(house, by, relationships, row, fields, if_match)


def _fields(relationships: Resource, session: str, body: Raw) -> Raw:
    return nested.fields(relationships, session, body, "relationship_id")


def _key(relationships: Resource, session: str, own: str) -> str:
    return nested.key(relationships, session, own, "/path/relationship_id")


def _end(session: str, node_id: str | None) -> str | None:
    return f"{session}:{node_id}" if node_id is not None else None


def _place(_: Resource, key: str) -> str:
    session, _sign, own = key.partition(":")
    return f"/api/v1/sessions/{session}/relationships/{own}"
