"""The routes of every synced resource, made from the catalog: list, get, put, patch, delete.

Reads are plain; writes are one mutation each, through the one write door.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any
from uuid import uuid4

import orjson
from fastapi import APIRouter, Body, Header, Path, Query, Request, Response
from pydantic import Field, TypeAdapter, ValidationError
from sqlalchemy.dialects import postgresql as pg
from starlette.convertors import Convertor, register_url_convertor

from syncserver.api import describe, errors, paging, writing
from syncserver.api.auth import By, InHouse
from syncserver.api.body import Route
from syncserver.core import protocol, values
from syncserver.core.errors import Invalid
from syncserver.storage.resource import Catalog, Resource
from syncserver.storage.rows import Listed, Listing

LIST_MAX = 500
_DIGITS = 19
_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
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
        all_routes.include_router(_routes(resource), prefix=f"/{resource.name}", tags=[resource.name])
    return all_routes


def _routes(resource: Resource) -> APIRouter:
    routes = APIRouter(route_class=Route)
    place = "/{key}" if _has_uuids(resource) else "/{key:text}"

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
        listing = Listing(_filters(resource, request.query_params), paging.place(after), limit + 1)
        return _list(await house.pull.listed(by.owner, resource.name, listing), limit)

    @routes.get(
        place, summary=f"One row of {resource.name}", responses={200: describe.row(resource), **errors.responses(404)}
    )
    async def got(house: InHouse, by: By, key: Key) -> Response:
        """The row as it is. `ETag` is its offset: send it as If-Match to write knowing it."""
        return await writing.shown(house, by, resource, _possible(resource, key))

    if not resource.read_only:
        _writes(routes, resource)
    return routes


def _writes(routes: APIRouter, resource: Resource) -> None:
    """The routes of a resource that clients write."""
    written: describe.Answers = {200: describe.row(resource, written=True), **_WRITE}

    @routes.put(
        "/{key:text}",
        summary=f"Write a whole row of {resource.name}",
        responses=written,
        openapi_extra=describe.body(resource, whole=True),
    )
    async def put(house: InHouse, by: By, key: Key, body: _Body, if_match: _IfMatch = None) -> Response:
        """The row becomes this; a newer write wins over it (409, with the winner)."""
        return await writing.write(house, by, resource, _mutation("put", resource, key, body, if_match))

    @routes.patch(
        "/{key:text}",
        summary=f"Write some fields of a row of {resource.name}",
        responses=written,
        openapi_extra=describe.body(resource, whole=False),
    )
    async def patch(house: InHouse, by: By, key: Key, body: _Body, if_match: _IfMatch = None) -> Response:
        """A merge patch (RFC 7396) of the row as it is."""
        return await writing.write(house, by, resource, _mutation("patch", resource, key, body, if_match))

    @routes.delete(
        "/{key:text}",
        summary=f"Remove a row of {resource.name}",
        status_code=204,
        responses={**describe.DONE, **_WRITE},
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
_BESIDE = ("updated_at", "device_id", "device_name", "base", "policy", "mutation_id")


def _has_uuids(resource: Resource) -> bool:
    return isinstance(resource.table.c[resource.key].type, pg.UUID)


def _possible(resource: Resource, key: str) -> str:
    """The key, if a row of this resource could have it; raises Invalid."""
    if _has_uuids(resource) and not _UUID.fullmatch(key):
        raise Invalid("/path/key: a UUID", [{"pointer": "/path/key", "detail": "a UUID"}])
    return key


def _mutation(op: str, resource: Resource, key: str, body: dict[str, Any], if_match: str | None) -> dict[str, Any]:
    """A request as the mutation it stands for; what is not the row's own stands beside its fields."""
    beside = {name: body[name] for name in _BESIDE if body.get(name) is not None}
    mutation: dict[str, Any] = {"mutation_id": str(uuid4()), "resource": resource.name, "key": key, "op": op, **beside}
    if if_match is not None and "base" not in mutation:
        mutation["base"] = _base(if_match)
    if op != "remove":
        mutation["data"] = {name: value for name, value in body.items() if name not in _BESIDE}
    return mutation


def _base(if_match: str) -> int:
    digits = if_match.strip('"')
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS):
        raise Invalid("If-Match is the ETag of a row.", [{"pointer": "/header/if-match", "detail": 'such as "12"'}])
    return int(digits)


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
