"""The routes of every synced resource, made from the catalog: list, get, put, patch, delete.

Reads are plain; writes are one mutation each, through the one write door.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import uuid4

import orjson
from fastapi import APIRouter, Body, Header, Path, Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from syncserver.api import body as bodies
from syncserver.api import describe, errors
from syncserver.api.auth import By, InHouse
from syncserver.core import clock, frames, protocol
from syncserver.core.actor import Actor, Device
from syncserver.core.errors import Invalid, NotFound, Removed, Superseded, SyncError, TooLarge, Unavailable
from syncserver.engine import decide
from syncserver.engine.house import House
from syncserver.storage.resource import Catalog, Resource
from syncserver.storage.rows import Listed, Listing

LIST_MAX = 500
_DIGITS = 19
_HTTP_DEVICE = "http"
_WRITE = errors.responses(400, 401, 404, 409, 413, 422, 503)
_READ = errors.responses(401, 404, 422, 503)
_PRIVATE = {"Cache-Control": "private, no-store"}
_REJECTED: Mapping[str, type[SyncError]] = {e.code: e for e in (NotFound, Removed, TooLarge)}

Key = Annotated[frames.Key, Path()]


def router(catalog: Catalog) -> APIRouter:
    """Routes for each resource under its name."""
    all_routes = APIRouter()
    for resource in catalog.values():
        all_routes.include_router(_routes(resource), prefix=f"/{resource.name}", tags=[resource.name])
    return all_routes


def _routes(resource: Resource) -> APIRouter:
    routes = APIRouter(route_class=bodies.Route)
    one = describe.row(resource)

    @routes.get("", summary=f"List {resource.name}", responses=_READ, openapi_extra=describe.listing(resource))
    async def listed(
        request: Request,
        house: InHouse,
        by: By,
        limit: Annotated[int, Query(ge=1, le=LIST_MAX, description="Rows in one answer.")] = 100,
        after: Annotated[str | None, Query(max_length=4096, description="`next` of the answer before.")] = None,
    ) -> Response:
        """Newest first. `next` leads on, and is null at the end."""
        listing = Listing(_filters(resource, request.query_params), _place(after), limit + 1)
        return _list(await house.pull.listed(by.owner, resource.name, listing), limit)

    @routes.get("/{key:path}", summary=f"One {resource.name}", responses={200: one, **_READ})
    async def got(house: InHouse, by: By, key: Key) -> Response:
        """The row as it is. `ETag` is its offset: send it as If-Match to write knowing it."""
        return await _shown(house, by, resource, key)

    @routes.put(
        "/{key:path}",
        summary=f"Write a whole {resource.name}",
        responses={200: one, **_WRITE},
        openapi_extra=describe.body(resource, whole=True),
    )
    async def put(house: InHouse, by: By, key: Key, body: _Body, if_match: _IfMatch = None) -> Response:
        """The row becomes this; a newer write wins over it (409, with the winner)."""
        return await _write(house, by, resource, _mutation("put", resource, key, body, if_match))

    @routes.patch(
        "/{key:path}",
        summary=f"Write some fields of a {resource.name}",
        responses={200: one, **_WRITE},
        openapi_extra=describe.body(resource, whole=False),
    )
    async def patch(house: InHouse, by: By, key: Key, body: _Body, if_match: _IfMatch = None) -> Response:
        """A merge patch (RFC 7396) of the row as it is."""
        return await _write(house, by, resource, _mutation("patch", resource, key, body, if_match))

    @routes.delete("/{key:path}", summary=f"Remove a {resource.name}", status_code=204, responses=_WRITE)
    async def delete(
        house: InHouse,
        by: By,
        key: Key,
        updated_at: Annotated[str | None, Query(description="When; now if left out.")] = None,
        device_id: Annotated[str | None, Query(description="On which device.")] = None,
        if_match: _IfMatch = None,
    ) -> Response:
        """The row goes on every device. Its tombstone keeps an older offline edit from bringing it back."""
        given = {"updated_at": updated_at, "device_id": device_id}
        named = {name: value for name, value in given.items() if value is not None}
        return await _write(house, by, resource, _mutation("remove", resource, key, named, if_match))

    return routes


_Body = Annotated[dict[str, Any], Body()]
_IfMatch = Annotated[str | None, Header(description='The ETag of the row as you know it, such as "12".')]
_BESIDE = ("updated_at", "device_id", "device_name", "base", "policy", "mutation_id")


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


async def _write(house: House, by: Actor, resource: Resource, mutation: dict[str, Any]) -> Response:
    """Push one mutation and answer as HTTP does; raises what the ack says."""
    try:
        sender = _sender(by, mutation.pop("device_id", _HTTP_DEVICE), mutation.pop("device_name", None))
        decide.read(sender, mutation, house.pull.catalog, house.now())  # has places; an ack has only sentences
    except Invalid as error:
        raise _placed(error) from None
    [ack] = await house.push.push(sender, [mutation])
    _raise(ack)
    if mutation["op"] == "remove":
        return Response(None, 204, {**_PRIVATE, "Sync-Status": ack["status"]})
    return await _shown(house, by, resource, mutation["key"], ack)


def _sender(by: Actor, device_id: object, device_name: object) -> decide.Sender:
    try:
        device = frames.DeviceIdentity.model_validate({"id": device_id, "name": device_name})
    except ValidationError as error:
        raise protocol.invalid(error, "/device") from None
    return decide.Sender(by.owner, Device(device.id, device.name), device.id)


def _placed(error: Invalid) -> Invalid:
    """The same, with places in the request as it was sent: fields and device stand at the top of its body."""
    places = {e["pointer"]: e["pointer"].removeprefix("/data") for e in error.errors}
    places |= {"/device/id": "/device_id", "/device/name": "/device_name"}
    errors = [{**e, "pointer": places[e["pointer"]]} for e in error.errors]
    return Invalid("; ".join(f"{e['pointer']}: {e['detail']}" for e in errors), errors)


def _raise(ack: decide.Ack) -> None:
    status = ack["status"]
    if status == "deferred":
        raise Unavailable(ack["detail"])
    if "code" in ack:
        raise _REJECTED.get(ack["code"], Invalid)(ack["detail"])
    if "row" in ack:
        raise Superseded("A newer write won; `row` is the winner.", ack["row"], ack.get("conflict_id"))


async def _shown(house: House, by: Actor, resource: Resource, key: str, ack: decide.Ack | None = None) -> Response:
    row = await house.pull.row(by.owner, resource.name, key)
    if row is None:
        raise NotFound("There is no such row.")
    headers = {**_PRIVATE, "ETag": f'"{row.offset}"'}
    if ack:
        headers["Sync-Status"] = ack["status"]
    return Response(_json(row), 200, headers, "application/json")


def _json(row: Listed) -> str:
    """The row's own JSON with its offset put in at the end."""
    return f'{row.json[:-1]}, "offset" : {row.offset}}}'


def _list(found: list[Listed], limit: int) -> Response:
    rows = found[:limit]
    following = _token(rows[-1]) if len(found) > limit else None
    body = {"items": [orjson.Fragment(_json(row)) for row in rows], "next": following}
    return Response(orjson.dumps(body), 200, _PRIVATE, "application/json")


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


def _token(row: Listed) -> str:
    place = orjson.dumps([clock.write(row.updated_at), row.key])
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def _place(token: str | None) -> tuple[datetime, str] | None:
    """Where a list goes on; raises Invalid for a token that no list gave."""
    if token is None:
        return None
    try:
        at, key = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return clock.read(at), frames.clean(key)
    except (ValueError, TypeError, binascii.Error):
        raise Invalid("`after` is not from a list.", [{"pointer": "/query/after", "detail": "unreadable"}]) from None
