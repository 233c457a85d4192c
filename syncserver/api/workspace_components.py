"""The components of a node, in order: put in, moved, removed, and the whole sequence replaced."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Header, Query, Response
from pydantic import ValidationError

from syncserver.api import describe, errors, nested, paging, planned, proposal, writing
from syncserver.api.auth import By, InHouse
from syncserver.api.body import Route
from syncserver.api.nested import ComponentId, IfMatch, NodeId, Session
from syncserver.api.resources import LIST_MAX
from syncserver.core import protocol
from syncserver.core.actor import Actor
from syncserver.core.errors import Invalid, NotFound
from syncserver.core.workspace_bodies import SequenceBody, SpotBody
from syncserver.engine import sequences
from syncserver.engine.house import House
from syncserver.engine.sequences import Home
from syncserver.storage.resource import Catalog, Resource
from syncserver.storage.rows import Listed
from syncserver.storage.threads import Span

Raw = dict[str, Any]
PATH = "/{key}/nodes/{node_id}/components"
OF_ITS_PLACE = ("session_id", "node_id")
_SPOT = ("position", "before", "after")
_ONE = f"{PATH}/{{component_id}}"
_EXAMPLE = {"type": "text", "config": {"size": 12}}
_SEQUENCE = {"components": [{"component_id": "title", "type": "heading"}, _EXAMPLE]}
_Body = Annotated[Raw, Body()]
_Known = Annotated[str | None, Header(max_length=64, description='The ETag of the sequence as you know it: "12-3".')]
_TAG = describe.etag("By what the sequence is known again", "[0-9]+-[0-9]+")


def router(catalog: Catalog) -> APIRouter:
    """The routes under a node."""
    components = catalog["node_components"]
    routes = APIRouter(prefix="/sessions", tags=["workspace components"], route_class=Route)
    _sequence(routes, components)
    _insert(routes, components)
    _replace(routes, components)
    _one(routes, components)
    _change(routes, components)
    _move(routes, components)
    _remove(routes, components)
    return routes


def named() -> dict[str, Any]:
    """The id of a new component, for OpenAPI."""
    own = {"type": "string", "pattern": "^[A-Za-z0-9._~-]{1,64}$"}
    return {"component_id": {**own, "description": "Made by the server if left out."}}


def items(components: Resource) -> dict[str, Any]:
    """Several components in a body, for OpenAPI."""
    one = describe.several(components, *OF_ITS_PLACE, "rank", more=named())
    return {"type": "array", "maxItems": LIST_MAX, "items": one}


def _sequence(routes: APIRouter, components: Resource) -> None:
    answer = describe.pages(components, ("further", "earlier"))

    @routes.get(
        PATH,
        summary="The components of a node",
        responses={200: {**answer, "headers": {**answer["headers"], **_TAG}}, **errors.responses(404)},
    )
    async def sequence(
        house: InHouse,
        by: By,
        key: Session,
        node_id: NodeId,
        limit: Annotated[int, Query(ge=1, le=LIST_MAX, description="Components in one answer.")] = 100,
        after: nested.Token = None,
        before: nested.Token = None,
    ) -> Response:
        """In order. `next`, as `after`, leads on, `previous`, as `before`, back; each is null at its end.

        `ETag` is that of the whole sequence: send it as If-Match to replace what you have seen, and nothing else.
        """
        node = _node(house, key, node_id)
        way = paging.way(after, before)
        known = await house.pull.sequence(by.owner, components.name, node)
        found = await listed(house, by, node, limit, way)
        return nested.page(found, limit, token, way, ETag=f'"{known}"')


async def listed(
    house: House, by: Actor, node: str, limit: int, way: tuple[str | None, str, bool] = (None, "after", False)
) -> list[Listed]:
    """A page of a node's components, and one more where there is one; raises NotFound, Invalid."""
    components = house.pull.catalog["node_components"]
    place = paging.ordered_place(components, way[0], way[1], nested.TEXT)
    found = await house.pull.thread(by.owner, components.name, node, Span(limit + 1, place, way[2]))
    if found is None:
        raise NotFound("There is no such node.")
    return list(found)


def _insert(routes: APIRouter, components: Resource) -> None:
    more = {**named(), **describe.model(SpotBody)}

    @routes.post(
        PATH,
        summary="Put a component into a node",
        status_code=201,
        responses={201: describe.created(components), **errors.responses(403, 404, 409)},
        openapi_extra=describe.nested(
            components, *OF_ITS_PLACE, "rank", more=more, example={**_EXAMPLE, "component_id": "intro", "position": 0}
        ),
    )
    async def insert(
        house: InHouse, by: By, key: Session, node_id: NodeId, body: _Body, if_match: IfMatch = None
    ) -> Response:
        """At `position`, `before` or `after` another, or at the end. Send `mutation_id` again with a retry."""
        home, spot = _home(house, by, key, node_id), _spot(body)
        name = planned.mutation_id(body)
        mutation = put(components, key, node_id, {**body, "mutation_id": name}, if_match)
        ack = await planned.written(
            house, by, body, name, lambda c: sequences.inserted(c, home, mutation, spot.spot(key))
        )
        place = f"/api/v1/sessions/{key}/nodes/{node_id}/components/{nested.own(mutation['key'])}"
        return await writing.shown(house, by, components, mutation["key"], ack, created=lambda _, __: place)


def put(components: Resource, session: str, node_id: object, body: Raw, if_match: str | None = None) -> Raw:
    """The put of a component under the id in the body, or one that the server makes; raises Invalid."""
    given = body.get("component_id")
    fields = nested.fields(components, session, body, "component_id", "node_id", "rank", *_SPOT)
    made = proposal.mutation("put", components, None, {**fields, "node_id": node_id}, if_match)
    key = nested.made_key(components, session, made["mutation_id"])
    named = key if given is None else nested.key(components, session, given, "/component_id")
    return planned.bare({**made, "key": named})


def _replace(routes: APIRouter, components: Resource) -> None:
    answer = describe.pages(components, ("further", "earlier"))
    beside = ("updated_at", "device_id", "device_name", "mutation_id")

    @routes.put(
        PATH,
        summary="Replace all components of a node",
        responses={
            200: {**answer, "headers": {**answer["headers"], **_TAG, **describe.STATUS}},
            **errors.responses(403, 404, 409),
        },
        openapi_extra=describe.given(
            {"components": items(components)}, *beside, required=["components"], example=_SEQUENCE
        ),
    )
    async def replace(
        house: InHouse, by: By, key: Session, node_id: NodeId, body: _Body, if_match: _Known = None
    ) -> Response:
        """These, in this order, all or nothing: those that are there keep what is not said, all others go.

        With If-Match, it is refused (409) where another device has changed the sequence since.
        """
        home, name = _home(house, by, key, node_id), planned.mutation_id(body)
        wanted, roots = puts(components, key, node_id, {**body, "mutation_id": name})
        seen = if_match.strip('"') if if_match is not None else None
        ack = await planned.written(house, by, body, name, lambda c: sequences.replaced(c, home, wanted, seen), roots)
        known = await house.pull.sequence(by.owner, components.name, home.key)
        found = await listed(house, by, home.key, LIST_MAX)
        return nested.page(
            found, LIST_MAX, token, paging.way(None, None), **{"ETag": f'"{known}"', "Sync-Status": ack["status"]}
        )


def puts(components: Resource, session: str, node_id: object, body: Raw) -> tuple[list[Raw], dict[str, str]]:
    """The puts of the components in a body, in order, and where each stands in it, by its key; raises Invalid."""
    try:
        given = SequenceBody.model_validate({"components": body.get("components")}).components
    except ValidationError as error:
        raise protocol.invalid(error) from None
    beside = {name: body[name] for name in proposal.BESIDE if name in body and name not in {"base", "policy"}}
    made: list[Raw] = []
    roots: dict[str, str] = {}
    for number, one in enumerate(given):
        root = f"/components/{number}"
        own = {name: value for name, value in one.items() if name not in (*proposal.BESIDE, proposal.SEEN)}
        try:
            found = put(components, session, node_id, {**own, **beside})
        except Invalid as error:
            raise _under(root, error) from None
        if own.get("component_id") is None:
            found["key"] = nested.made_key(components, session, f"{body['mutation_id']} {number}")
        if found["key"] in roots:
            raise proposal.wrong(f"{root}/component_id", "named twice")
        roots[found["key"]] = root
        made.append(found)
    return made, roots


def _one(routes: APIRouter, components: Resource) -> None:
    @routes.get(_ONE, summary="One component", responses={200: describe.row(components), **errors.responses(404)})
    async def one(house: InHouse, by: By, key: Session, node_id: NodeId, component_id: ComponentId) -> Response:
        """The row as it is. `ETag` is its offset: send it as If-Match to write knowing it."""
        return await writing.shown(house, by, components, await _there(house, by, key, node_id, component_id))


def _change(routes: APIRouter, components: Resource) -> None:
    @routes.patch(
        _ONE,
        summary="Write some fields of a component, or move it",
        responses={200: describe.row(components, written=True), **errors.responses(403, 404, 409)},
        openapi_extra=describe.nested(
            components,
            *OF_ITS_PLACE,
            "rank",
            more=describe.model(SpotBody),
            example={"config": {"size": 14}},
            whole=False,
        ),
    )
    async def change(
        house: InHouse,
        by: By,
        key: Session,
        node_id: NodeId,
        component_id: ComponentId,
        body: _Body,
        if_match: IfMatch = None,
    ) -> Response:
        """A merge patch (RFC 7396) of the row as it is; with `position`, `before` or `after` it is moved, too."""
        component = await _there(house, by, key, node_id, component_id)
        fields = {name: value for name, value in body.items() if name not in {"rank", *_SPOT}}
        spot = _spot(body)
        if not spot.said:
            return await nested.patch(house, by, components, component, fields, if_match)
        name = planned.mutation_id(body)
        patch = await nested.patching(house, by, components, component, {**fields, "mutation_id": name}, if_match)
        return await _moved(house, by, node_id, patch, spot, body)


def _move(routes: APIRouter, components: Resource) -> None:
    beside = ("updated_at", "device_id", "device_name", "mutation_id", "base")

    @routes.post(
        f"{_ONE}/move",
        summary="Move a component",
        responses={200: describe.row(components, written=True), **errors.responses(403, 404, 409)},
        openapi_extra=describe.given(describe.model(SpotBody), *beside, example={"position": 0}),
    )
    async def move(
        house: InHouse,
        by: By,
        key: Session,
        node_id: NodeId,
        component_id: ComponentId,
        body: _Body,
        if_match: IfMatch = None,
    ) -> Response:
        """To `position`, `before` or `after` another, or to the end. No other row changes, most often."""
        component = await _there(house, by, key, node_id, component_id)
        name = planned.mutation_id(body)
        beside = {**{one: body[one] for one in proposal.BESIDE if one in body}, "mutation_id": name}
        patch = await nested.patching(house, by, components, component, beside, if_match)
        return await _moved(house, by, node_id, patch, _spot(body), body)


def _remove(routes: APIRouter, _: Resource) -> None:
    @routes.delete(
        _ONE,
        summary="Remove a component",
        status_code=204,
        responses={**describe.DONE, **errors.responses(403, 404, 409)},
    )
    async def remove(
        house: InHouse,
        by: By,
        key: Session,
        node_id: NodeId,
        component_id: ComponentId,
        updated_at: nested.Stamp = None,
        device_id: nested.DeviceId = None,
        if_match: IfMatch = None,
    ) -> Response:
        """The others stay as they are."""
        component = await _there(house, by, key, node_id, component_id)
        components = house.pull.catalog["node_components"]
        return await nested.delete(house, by, components, component, (updated_at, device_id), if_match)


async def _moved(house: House, by: Actor, node_id: str, patch: Raw, spot: SpotBody, body: Raw) -> Response:
    components, session = house.pull.catalog["node_components"], patch["key"].partition(":")[0]
    home, mutation = _home(house, by, session, node_id), planned.bare(patch)
    ack = await planned.written(
        house, by, body, patch["mutation_id"], lambda c: sequences.moved(c, home, mutation, spot.spot(session))
    )
    return await writing.shown(house, by, components, patch["key"], ack)


async def _there(house: House, by: Actor, session: str, node_id: str, component_id: str) -> str:
    """The key of a component of this node; raises NotFound."""
    components = house.pull.catalog["node_components"]
    key = nested.key(components, session, component_id, "/path/component_id")
    row = await house.pull.row(by.owner, components.name, key)
    if row is None or orjson.loads(row.json)["node_id"] != node_id:
        raise NotFound("There is no such component of this node.")
    return key


def _node(house: House, session: str, node_id: str) -> str:
    return nested.key(house.pull.catalog["nodes"], session, node_id, "/path/node_id")


def _home(house: House, by: Actor, session: str, node_id: str) -> Home:
    return Home(house.pull.catalog["node_components"], by.owner, _node(house, session, node_id), house.now())


def _spot(body: Raw) -> SpotBody:
    try:
        return SpotBody.model_validate({name: body.get(name) for name in _SPOT})
    except ValidationError as error:
        raise protocol.invalid(error) from None


def token(row: Listed) -> str:
    """Where a page that ends, or begins, with this row goes on."""
    return paging.ordered(orjson.loads(row.json)["rank"], row.key)


def _under(root: str, error: Invalid) -> Invalid:
    errors = [{**place, "pointer": root + place["pointer"]} for place in error.errors]
    return Invalid("; ".join(f"{place['pointer']}: {place['detail']}" for place in errors), errors)
