"""One write over REST: a mutation through the one write door, and its ack as HTTP says it."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from fastapi import Response
from pydantic import ValidationError

from syncserver.core import clock, protocol, values
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
from syncserver.engine import decide, weigh
from syncserver.engine.house import House
from syncserver.storage.resource import Resource
from syncserver.storage.rows import Listed

PRIVATE = {"Cache-Control": "private, no-store"}
HTTP_DEVICE = "http"
"""Who wrote what came without a device's id."""

_REJECTED: Mapping[str, type[SyncError]] = {e.code: e for e in (NotFound, Removed, TooLarge, Forbidden, OverQuota)}


async def write(house: House, by: Actor, resource: Resource, mutation: dict[str, Any]) -> Response:
    """Push one mutation and answer as HTTP does; raises what the ack says."""
    ack = await settled(house, by, resource, mutation)
    if mutation["op"] == "remove":
        return Response(None, 204, {**PRIVATE, "Sync-Status": ack["status"]})
    return await shown(house, by, resource, mutation["key"], ack)


async def settled(house: House, by: Actor, resource: Resource, mutation: dict[str, Any]) -> decide.Ack:
    """The ack of one mutation that was written; raises Superseded, and what else the ack says."""
    ack = await proposed(house, by, mutation)
    if "row" in ack:
        raise superseded(house, resource, mutation, ack)
    return ack


async def proposed(house: House, by: Actor, mutation: dict[str, Any], root: str = "") -> decide.Ack:
    """The ack of one mutation that was judged; raises what it says, unless another version won.

    `root`: where the fields stand in the request, a JSON pointer.
    """
    try:
        who = sender(by, mutation.pop("device_id", HTTP_DEVICE), mutation.pop("device_name", None))
        [ack] = await house.push.push(who, [mutation])
        _refused(ack)
    except Invalid as error:
        raise placed(error, root) from None
    return ack


def superseded(house: House, resource: Resource, mutation: Mapping[str, Any], ack: decide.Ack) -> Superseded:
    """What a write that lost is answered with: both versions, and where they differ."""
    row = winner(ack)
    yours = weigh.sent(resource, mutation["op"], mutation.get("data"))
    names = weigh.differs(resource, mutation["op"], yours, row["data"], stamp(house, mutation))
    return Superseded("A newer write won; `row` is the winner.", row, ack.get("conflict_id"), yours, names)


def winner(ack: decide.Ack) -> dict[str, Any]:
    """The row that won, of an ack that has one."""
    row: dict[str, Any] = orjson.loads(orjson.dumps(ack["row"]))
    return row


def stamp(house: House, mutation: Mapping[str, Any]) -> Any:
    """The stamp of a mutation that was found to be well-formed, bounded as the write door does."""
    claimed, now = mutation.get("updated_at"), house.now()
    return clock.clamp(clock.read(claimed), now) if claimed is not None else now


def sender(by: Actor, device_id: object, device_name: object) -> decide.Sender:
    """Who writes; raises Invalid or TooLarge."""
    try:
        device = values.DeviceIdentity.model_validate({"id": device_id, "name": device_name})
    except ValidationError as error:
        raise protocol.invalid(error, "/device") from None
    return decide.Sender(by.owner, Device(device.id, device.name), device.id)


def placed(error: Invalid, root: str = "") -> Invalid:
    """The same, with places in the request as it was sent: fields at `root`, the device at the top of the body."""
    places = {e["pointer"]: _under(root, e["pointer"]) for e in error.errors}
    places |= {"/device/id": "/device_id", "/device/name": "/device_name"}
    errors = [{**e, "pointer": places[e["pointer"]]} for e in error.errors]
    if not errors:
        return error
    return Invalid("; ".join(f"{e['pointer']}: {e['detail']}" for e in errors), errors)


def _under(root: str, pointer: str) -> str:
    return root + pointer.removeprefix("/data") if pointer.startswith("/data") else pointer


def _refused(ack: decide.Ack) -> None:
    status = ack["status"]
    if status == "deferred":
        unknown = ack.get("code") == DependencyUnknown.code
        raise (DependencyUnknown if unknown else Unavailable)(ack["detail"])
    if "code" in ack:
        raise refusal(ack)


def refusal(ack: Mapping[str, Any]) -> SyncError:
    """What a mutation that was rejected is answered with."""
    if ack["code"] in _REJECTED:
        return _REJECTED[ack["code"]](ack["detail"])
    return Invalid(ack["detail"], ack.get("errors", ()))


Place = Callable[[Resource, str], str]
"""The address of a row with this key."""


def own_place(resource: Resource, key: str) -> str:
    """Among the routes of the resource."""
    return f"/api/v1/{resource.path}/{key}"


async def shown(
    house: House,
    by: Actor,
    resource: Resource,
    key: str,
    ack: decide.Ack | None = None,
    *,
    created: Place | None = None,
) -> Response:
    """The row as it is, with its ETag; and with the address that it has, if it was `created`. Raises NotFound."""
    row = await house.pull.row(by.owner, resource.name, key)
    if row is None:
        raise NotFound("There is no such row.")
    headers = {**PRIVATE, "ETag": f'"{row.offset}"'}
    if ack:
        headers["Sync-Status"] = ack["status"]
    if created:
        headers["Location"] = created(resource, key)
    return Response(as_json(row), 201 if created else 200, headers, "application/json")


def as_json(row: Listed) -> str:
    """The row's own JSON with its offset put in at the end."""
    return f'{row.json[:-1]}, "offset" : {row.offset}}}'
