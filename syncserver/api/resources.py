"""The routes of every synced resource, made from the catalog: list, get, put, patch, delete.

Reads are plain; writes are one mutation each, through the one write door.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Header, Path, Query, Request, Response
from pydantic import Field, TypeAdapter, ValidationError
from starlette.convertors import Convertor, register_url_convertor

from syncserver.api import describe, errors, paging, proposal, writing
from syncserver.api.auth import By, InHouse
from syncserver.api.body import Route
from syncserver.core import protocol, values
from syncserver.core.errors import Invalid
from syncserver.storage.resource import Catalog, Resource
from syncserver.storage.rows import Listed, Listing

LIST_MAX = 500
_WRITE = errors.responses(403, 404, 409)

_Stamp = Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})]
Key = Annotated[values.Key, Path(description="The row's key, without control characters.")]


class _AnyText(Convertor[str]):
    """The rest of a path, whatever it holds: one with a line feed is a wrong key, and not another place."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """As it is."""
        return value

    def to_string(self, value: str) -> str:
        """As it is."""
        return value


register_url_convertor("text", _AnyText())


def router(catalog: Catalog) -> APIRouter:
    """Routes for each resource under its name."""
    all_routes = APIRouter()
    for resource in catalog.values():
        all_routes.include_router(_routes(resource), prefix=f"/{resource.path}", tags=[resource.name])
    return all_routes


def _routes(resource: Resource) -> APIRouter:
    routes = APIRouter(route_class=Route)
    place = _place(resource)

    @routes.get(
        "",
        summary=f"List {resource.name}",
        responses={200: describe.rows(resource)},
        openapi_extra=describe.listing(resource),
    )
    async def listed(
        request: Request,
        house: InHouse,
        by: By,
        limit: Annotated[int, Query(ge=1, le=LIST_MAX, description="Rows in one answer.")] = 100,
        after: Annotated[str | None, Query(max_length=4096, description="`next` of the answer before.")] = None,
    ) -> Response:
        """Newest first. `next` leads on, and is null at the end."""
        where = _filters(resource, request.query_params)
        named = _conditions(resource, request.query_params)
        listing = Listing(where, paging.place(after), limit + 1, named)
        return _list(await house.pull.listed(by.owner, resource.name, listing), limit)

    @routes.get(
        place, summary=f"One row of {resource.name}", responses={200: describe.row(resource), **errors.responses(404)}
    )
    async def got(house: InHouse, by: By, key: Key) -> Response:
        """The row as it is. `ETag` is its offset: send it as If-Match to write knowing it."""
        return await writing.shown(house, by, resource, proposal.possible(resource, key))

    if not resource.read_only:
        _writes(routes, resource)
    if resource.removable or not resource.read_only:
        _removal(routes, resource)
    return routes


def _place(resource: Resource) -> str:
    """Where one of its rows is: keys that are free text may have slashes."""
    return "/{key}" if resource.has_uuids else "/{key:text}"


def _writes(routes: APIRouter, resource: Resource) -> None:
    """The routes of a resource that clients write."""
    written: describe.Answers = {200: describe.row(resource, written=True), **_WRITE}

    @routes.put(
        _place(resource),
        summary=f"Write a whole row of {resource.name}",
        responses=written,
        openapi_extra=describe.body(resource, whole=True),
    )
    async def put(house: InHouse, by: By, key: Key, body: _Body, if_match: _IfMatch = None) -> Response:
        """The row becomes this; a newer write wins over it (409, with the winner)."""
        return await writing.write(house, by, resource, _mutation("put", resource, key, body, if_match))

    @routes.patch(
        _place(resource),
        summary=f"Write some fields of a row of {resource.name}",
        responses=written,
        openapi_extra=describe.body(resource, whole=False),
    )
    async def patch(house: InHouse, by: By, key: Key, body: _Body, if_match: _IfMatch = None) -> Response:
        """A merge patch (RFC 7396) of the row as it is."""
        proposed = _mutation("patch", resource, key, body, if_match)
        if resource.strict:
            known = await proposal.knowing(house, by, resource, proposed, body.get(proposal.SEEN))
            proposed = proposal.yielding(known)
        return await writing.write(house, by, resource, proposed)


def _removal(routes: APIRouter, resource: Resource) -> None:
    """The route that removes a row."""

    @routes.delete(
        _place(resource),
        summary=f"Remove a row of {resource.name}",
        status_code=204,
        responses={**describe.DONE, **errors.responses(403, 404, 409)},
    )
    async def delete(
        house: InHouse,
        by: By,
        key: Key,
        updated_at: Annotated[_Stamp | None, Query(description="When; now if left out.")] = None,
        device_id: Annotated[str | None, Query(max_length=128, description="On which device.")] = None,
        if_match: _IfMatch = None,
    ) -> Response:
        """The row goes on every device. Its tombstone keeps an older offline edit from bringing it back."""
        given = {"updated_at": updated_at, "device_id": device_id}
        named = {name: value for name, value in given.items() if value is not None}
        return await writing.write(house, by, resource, _mutation("remove", resource, key, named, if_match))


_Body = Annotated[dict[str, Any], Body()]
_IfMatch = Annotated[str | None, Header(max_length=64, description='The ETag of the row as you know it, such as "12".')]


def _mutation(op: str, resource: Resource, key: str, body: dict[str, Any], if_match: str | None) -> dict[str, Any]:
    return proposal.mutation(op, resource, proposal.possible(resource, key), body, if_match)


def _list(found: list[Listed], limit: int) -> Response:
    rows = found[:limit]
    following = paging.token(rows[-1].updated_at, rows[-1].key) if len(found) > limit else None
    body = {"items": [orjson.Fragment(writing.as_json(row)) for row in rows], "next": following}
    return Response(orjson.dumps(body), 200, writing.PRIVATE, "application/json")


def _filters(resource: Resource, given: Mapping[str, str]) -> dict[str, str]:
    """The filters of a list, each a value that its field could hold; raises Invalid."""
    wanted = {name: given[name] for name in resource.filters if name in given}
    for name, value in wanted.items():
        field = resource.model.model_fields[name]
        adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
        try:
            adapter.validate_python(value, strict=True)
        except ValidationError as error:
            raise protocol.invalid(error, f"/query/{name}") from None
    return wanted


def _conditions(resource: Resource, given: Mapping[str, str]) -> tuple[str, ...]:
    """The named lists that are asked for; raises Invalid for what is neither true nor false."""
    for name in resource.conditions:
        if given.get(name, "false") not in {"true", "false"}:
            raise Invalid(f"/query/{name}: true or false", [{"pointer": f"/query/{name}", "detail": "true or false"}])
    return tuple(name for name in resource.conditions if given.get(name) == "true")
