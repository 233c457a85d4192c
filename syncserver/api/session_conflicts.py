"""Two devices, one reading session: whether an update would meet another, and to settle it by a rule that is named."""

from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Body, Response
from pydantic import ValidationError

from syncserver.api import describe, errors, proposal, writing
from syncserver.api.auth import By, InHouse
from syncserver.api.body import Route
from syncserver.api.proposal import Id
from syncserver.core import protocol, reading_bodies, values
from syncserver.core.actor import Actor
from syncserver.core.errors import Invalid, NotFound
from syncserver.core.resolver import Policy, Reason
from syncserver.engine import decide, weigh
from syncserver.engine.decide import Current
from syncserver.engine.house import House
from syncserver.storage.resource import Catalog, Resource

Raw = dict[str, Any]
_Body = Annotated[Raw, Body()]
_Model = TypeVar("_Model", bound=values.Model)


def router(catalog: Catalog) -> APIRouter:
    """The routes, beside those that every resource has."""
    sessions = catalog["reading_sessions"]
    routes = APIRouter(prefix=f"/{sessions.path}", tags=[sessions.name], route_class=Route)
    _check(routes, sessions)
    _resolve(routes, sessions)
    return routes


def _check(routes: APIRouter, sessions: Resource) -> None:
    @routes.post(
        "/{key}/check",
        summary="Whether an update would conflict",
        response_model=reading_bodies.ConflictInfo,
        responses={200: {"headers": describe.PRIVATE}, **errors.responses(404)},
        openapi_extra=describe.around(reading_bodies.ConflictCheck, sessions, "policy", "mutation_id"),
    )
    async def check(house: InHouse, by: By, key: Id, body: _Body) -> Response:
        """Nothing is written. `outcome` says of each policy whose fields would stand."""
        read(reading_bodies.ConflictCheck, body)
        update = await _update(house, by, sessions, key, body)
        if "base" not in update:
            raise proposal.wrong("/base", "the offset at which you last saw the session, or seen_updated_at")
        return _json(_weighed(house, by, sessions, update, await _current(house, by, sessions, update["key"])))


def _resolve(routes: APIRouter, sessions: Resource) -> None:
    @routes.post(
        "/{key}/resolve",
        summary="Write by a policy",
        response_model=reading_bodies.ConflictResolved,
        responses={200: {"headers": {**describe.PRIVATE, **describe.STATUS_ANY}}, **errors.responses(403, 404, 409)},
        openapi_extra=describe.around(reading_bodies.ConflictResolution, sessions),
    )
    async def resolve(house: InHouse, by: By, key: Id, body: _Body) -> Response:
        """`won` says whose fields stand. What lost is recorded, see /api/v1/conflicts, where it can be restored."""
        read(reading_bodies.ConflictResolution, body)
        ack = await writing.proposed(house, by, update := await _update(house, by, sessions, key, body), "/fields")
        lost = {"conflict_id": ack["conflict_id"]} if "conflict_id" in ack else {}
        row = (await _current(house, by, sessions, update["key"])).row()
        return _json({"won": "stored" if "row" in ack else "yours", "row": row, **lost}, {"Sync-Status": ack["status"]})


def read(model: type[_Model], body: Raw) -> _Model:
    """The body as this model; raises Invalid or TooLarge."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise protocol.invalid(error) from None


async def _update(house: House, by: Actor, sessions: Resource, key: str, body: Raw) -> Raw:
    """The patch that a body with `fields` is about."""
    beside = {name: value for name, value in body.items() if name in proposal.BESIDE}
    update = proposal.mutation("patch", sessions, key, {**body["fields"], **beside})
    update["data"] = body["fields"]
    return await proposal.knowing(house, by, sessions, update, body.get(proposal.SEEN))


async def _current(house: House, by: Actor, sessions: Resource, key: str) -> Current:
    row = await house.pull.row(by.owner, sessions.name, key)
    if row is None:
        raise NotFound("There is no such row.")
    return weigh.present(by.owner, sessions, row)


def _weighed(house: House, by: Actor, sessions: Resource, update: Raw, current: Current) -> Raw:
    """What the resolver says of this update, under each policy; raises Invalid or TooLarge."""
    try:
        who = writing.sender(by, update.pop("device_id", writing.HTTP_DEVICE), update.pop("device_name", None))
        item = decide.read(who, update, house.pull.catalog, house.now())
        found = weigh.outcomes(item, current)
    except Invalid as error:
        raise writing.placed(error, "/fields") from None
    row = orjson.loads(orjson.dumps(current.row()))
    strict = found[Policy.SERVER_WINS]
    return {
        "conflict": not strict.accepted and strict.reason is not Reason.SAME,
        "row": row,
        "yours": update["data"],
        "differs": weigh.differs(sessions, "patch", update["data"], row["data"], item.stamp),
        "outcome": {policy.value: "yours" if _stands(resolution) else "stored" for policy, resolution in found.items()},
    }


def _stands(resolution: Any) -> bool:
    return resolution.accepted or resolution.reason is Reason.SAME


def _json(body: Raw, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), 200, {**writing.PRIVATE, **(headers or {})}, "application/json")
