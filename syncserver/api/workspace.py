"""The workspace of a session: its nodes, each with its components if that is wanted.

What belongs to a node, and what relates nodes, has files of its own.
"""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Query, Response
from pydantic import Field, TypeAdapter

from syncserver.api import (
    describe,
    errors,
    making,
    nested,
    paging,
    planned,
    proposal,
    workspace_components,
    workspace_relationships,
    writing,
)
from syncserver.api.auth import By, InHouse
from syncserver.api.body import Route
from syncserver.api.nested import IfMatch, NodeId, Session
from syncserver.api.resources import LIST_MAX
from syncserver.core import within
from syncserver.core.actor import Actor
from syncserver.engine import sequences
from syncserver.engine.house import House
from syncserver.engine.sequences import Home
from syncserver.storage.resource import Catalog, Resource
from syncserver.storage.rows import Listed
from syncserver.storage.threads import Span

Raw = dict[str, Any]
_PATH = "/{key}/nodes"
_ONE = f"{_PATH}/{{node_id}}"
_NUMBER: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=0, le=within.NUMBER_MAX)])
_EXAMPLE = {"title": "Ahab", "content": "The captain.", "metadata": {"colour": "white"}}
_COMPONENTS = [{"component_id": "face", "type": "image"}, {"type": "text", "config": {"size": 12}}]
_Body = Annotated[Raw, Body()]


def router(catalog: Catalog) -> APIRouter:
    """The routes under a session, beside those that every resource has."""
    nodes = catalog["nodes"]
    routes = APIRouter(prefix="/sessions", tags=["workspace nodes"], route_class=Route)
    _begin(routes, catalog)
    _listed(routes, nodes)
    _one(routes, catalog)
    _change(routes, nodes)
    whole = APIRouter()
    for some in (routes, workspace_components.router(catalog), workspace_relationships.router(catalog)):
        whole.include_router(some)
    return whole


def _with_components(answer: dict[str, Any], components: Resource, **more: Any) -> dict[str, Any]:
    return describe.holding(answer, {"components": {"type": "array", "items": describe.one(components)}, **more})


def _begin(routes: APIRouter, catalog: Catalog) -> None:
    nodes, components = catalog["nodes"], catalog["node_components"]
    own = {"type": "string", "pattern": f"^{within.NUMBERED.pattern}$", "description": "The next one if left out."}
    more = {"node_id": own, "components": workspace_components.items(components)}

    @routes.post(
        _PATH,
        summary="Make a node",
        status_code=201,
        responses={
            201: _with_components(describe.created(nodes), components),
            **errors.responses(403, 404, 409),
        },
        openapi_extra=describe.nested(nodes, "session_id", more=more, example={**_EXAMPLE, "components": _COMPONENTS}),
    )
    async def begin(house: InHouse, by: By, key: Session, body: _Body, if_match: IfMatch = None) -> Response:
        """With `components` in order, all or nothing. Left out, `node_id` is the next number of the session.

        Send `mutation_id` again with a retry. A node that is there already is written as PUT does.
        """
        name = planned.mutation_id(body)
        fields = {**nested.fields(nodes, key, body, "node_id", "components"), "session_id": key, "mutation_id": name}
        given = body.get("node_id")
        if given is not None:
            fields["id"] = nested.key(nodes, key, given, "/node_id")
        node = making.new(nodes, fields, if_match)
        if body.get("components") is None:
            return await making.made(house, by, nodes, node, place=_place)
        return await _made(house, by, key, node, {**body, "mutation_id": name})


async def _made(house: House, by: Actor, session: str, node: Raw, body: Raw) -> Response:
    """A node and its components, by one transaction."""
    nodes, components = (house.pull.catalog[name] for name in ("nodes", "node_components"))
    named = node["key"] if isinstance(node["key"], str) else None
    node_id = {"$temp": node["key"]["temp"]} if named is None else nested.own(named)
    puts, roots = workspace_components.puts(components, session, node_id, body)
    home = Home(components, by.owner, named or "", house.now())
    first = planned.bare(node)
    ack = await planned.written(
        house, by, body, node["mutation_id"], lambda c: sequences.begun(c, home, first, puts), roots
    )
    key = named or ack.get("id_map", {}).get(node["key"]["temp"])
    if key is None:
        raise proposal.wrong("/mutation_id", "that of another write")
    answer = await writing.shown(house, by, nodes, key, ack, created=_place)
    return await _extended(house, by, key, answer)


async def _extended(house: House, by: Actor, key: str, answer: Response) -> Response:
    """The answer that holds a node, with its components in it."""
    found = await workspace_components.listed(house, by, key, LIST_MAX)
    page = nested.paged(found, LIST_MAX, workspace_components.token, paging.way(None, None))
    node = orjson.loads(answer.body)
    body = {**node, "components": page["items"], "components_next": page["next"]}
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    return Response(orjson.dumps(body), answer.status_code, headers)


def _listed(routes: APIRouter, nodes: Resource) -> None:
    @routes.get(
        _PATH,
        summary="The nodes of a session",
        responses={200: describe.pages(nodes, ("greater", "lesser")), **errors.responses(404)},
    )
    async def listed(
        house: InHouse,
        by: By,
        key: Session,
        limit: Annotated[int, Query(ge=1, le=LIST_MAX, description="Nodes in one answer.")] = 100,
        after: nested.Token = None,
        before: nested.Token = None,
        latest: Annotated[bool, Query(description="The greatest, where neither token is given.")] = False,
    ) -> Response:
        """By number, whichever way you go. `next`, as `after`, leads on, `previous`, as `before`, back.

        Each is null at its end. With `latest`, the first answer is the end of the list.
        """
        token, name, backward = way = paging.way(after, before)
        way = (token, name, backward or (latest and token is None))
        span = Span(limit + 1, paging.ordered_place(nodes, token, name, _NUMBER), way[2])
        found = await house.pull.thread(by.owner, nodes.name, key, span)
        return nested.page(found, limit, _token, way)


def _one(routes: APIRouter, catalog: Catalog) -> None:
    nodes, components = catalog["nodes"], catalog["node_components"]
    on = {"type": ["string", "null"], "description": "Leads on among its components, as `after`."}

    @routes.get(
        _ONE,
        summary="One node",
        responses={
            200: _with_components(describe.row(nodes), components, components_next=on),
            **errors.responses(404),
        },
    )
    async def one(
        house: InHouse,
        by: By,
        key: Session,
        node_id: NodeId,
        components: Annotated[
            bool, Query(description="With its components in order, as many as one page has.")
        ] = False,
    ) -> Response:
        """The row as it is. `ETag` is its offset: send it as If-Match to write knowing it."""
        row = _key(nodes, key, node_id)
        answer = await writing.shown(house, by, nodes, row)
        return await _extended(house, by, row, answer) if components else answer

    @routes.delete(
        _ONE,
        summary="Remove a node",
        status_code=204,
        responses={**describe.DONE, **errors.responses(403, 404, 409)},
    )
    async def remove(
        house: InHouse,
        by: By,
        key: Session,
        node_id: NodeId,
        updated_at: nested.Stamp = None,
        device_id: nested.DeviceId = None,
        if_match: IfMatch = None,
    ) -> Response:
        """Its components and relationships go with it. Its number is never given to another."""
        return await nested.delete(house, by, nodes, _key(nodes, key, node_id), (updated_at, device_id), if_match)


def _change(routes: APIRouter, nodes: Resource) -> None:
    written: describe.Answers = {200: describe.row(nodes, written=True), **errors.responses(403, 404, 409)}

    @routes.put(
        _ONE,
        summary="Write a whole node",
        responses=written,
        openapi_extra=describe.nested(nodes, "session_id", example=_EXAMPLE),
    )
    async def put(
        house: InHouse, by: By, key: Session, node_id: NodeId, body: _Body, if_match: IfMatch = None
    ) -> Response:
        """The row becomes this; a newer write wins over it (409, with the winner). Its components stay."""
        row, fields = _key(nodes, key, node_id), nested.fields(nodes, key, body, "node_id", "components")
        return await nested.put(house, by, nodes, row, fields, if_match)

    @routes.patch(
        _ONE,
        summary="Write some fields of a node",
        responses=written,
        openapi_extra=describe.nested(nodes, "session_id", example={"title": "Captain Ahab"}, whole=False),
    )
    async def patch(
        house: InHouse, by: By, key: Session, node_id: NodeId, body: _Body, if_match: IfMatch = None
    ) -> Response:
        """A merge patch (RFC 7396) of the row as it is."""
        row, fields = _key(nodes, key, node_id), nested.fields(nodes, key, body, "node_id", "components")
        return await nested.patch(house, by, nodes, row, fields, if_match)


def _key(nodes: Resource, session: str, node_id: str) -> str:
    return nested.key(nodes, session, node_id, "/path/node_id")


def _token(row: Listed) -> str:
    return paging.ordered(within.number(row.key), row.key)


def _place(_: Resource, key: str) -> str:
    session, _sign, node_id = key.partition(":")
    return f"/api/v1/sessions/{session}/nodes/{node_id}"
