"""One write over REST: a mutation through the one write door, and its ack as HTTP says it."""

from collections.abc import Mapping
from typing import Any

from fastapi import Response
from pydantic import ValidationError

from syncserver.core import protocol, values
from syncserver.core.actor import Actor, Device
from syncserver.core.errors import (
    DependencyUnknown,
    Forbidden,
    Invalid,
    NotFound,
    OverQuota,
    Removed,
    Superseded,
    SyncError,
    TooLarge,
    Unavailable,
)
from syncserver.engine import decide
from syncserver.engine.house import House
from syncserver.storage.resource import Resource
from syncserver.storage.rows import Listed

PRIVATE = {"Cache-Control": "private, no-store"}
_HTTP_DEVICE = "http"
_REJECTED: Mapping[str, type[SyncError]] = {e.code: e for e in (NotFound, Removed, TooLarge, Forbidden, OverQuota)}


async def write(house: House, by: Actor, resource: Resource, mutation: dict[str, Any]) -> Response:
    """Push one mutation and answer as HTTP does; raises what the ack says."""
    try:
        sender = _sender(by, mutation.pop("device_id", _HTTP_DEVICE), mutation.pop("device_name", None))
        [ack] = await house.push.push(sender, [mutation])
        _raise(ack)
    except Invalid as error:
        raise _placed(error) from None
    if mutation["op"] == "remove":
        return Response(None, 204, {**PRIVATE, "Sync-Status": ack["status"]})
    return await shown(house, by, resource, mutation["key"], ack)


def _sender(by: Actor, device_id: object, device_name: object) -> decide.Sender:
    try:
        device = values.DeviceIdentity.model_validate({"id": device_id, "name": device_name})
    except ValidationError as error:
        raise protocol.invalid(error, "/device") from None
    return decide.Sender(by.owner, Device(device.id, device.name), device.id)


def _placed(error: Invalid) -> Invalid:
    """The same, with places in the request as it was sent: fields and device stand at the top of its body."""
    places = {e["pointer"]: e["pointer"].removeprefix("/data") for e in error.errors}
    places |= {"/device/id": "/device_id", "/device/name": "/device_name"}
    errors = [{**e, "pointer": places[e["pointer"]]} for e in error.errors]
    if not errors:
        return error
    return Invalid("; ".join(f"{e['pointer']}: {e['detail']}" for e in errors), errors)


def _raise(ack: decide.Ack) -> None:
    status = ack["status"]
    if status == "deferred":
        unknown = ack.get("code") == DependencyUnknown.code
        raise (DependencyUnknown if unknown else Unavailable)(ack["detail"])
    if "code" in ack:
        if ack["code"] in _REJECTED:
            raise _REJECTED[ack["code"]](ack["detail"])
        raise Invalid(ack["detail"], ack.get("errors", ()))
    if "row" in ack:
        raise Superseded("A newer write won; `row` is the winner.", ack["row"], ack.get("conflict_id"))


async def shown(house: House, by: Actor, resource: Resource, key: str, ack: decide.Ack | None = None) -> Response:
    """The row as it is, with its ETag; raises NotFound."""
    row = await house.pull.row(by.owner, resource.name, key)
    if row is None:
        raise NotFound("There is no such row.")
    headers = {**PRIVATE, "ETag": f'"{row.offset}"'}
    if ack:
        headers["Sync-Status"] = ack["status"]
    return Response(as_json(row), 200, headers, "application/json")


def as_json(row: Listed) -> str:
    """The row's own JSON with its offset put in at the end."""
    return f'{row.json[:-1]}, "offset" : {row.offset}}}'
