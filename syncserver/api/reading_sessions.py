"""What reading sessions have beyond other resources: to begin, pause, resume, leave and complete one.

Each is one mutation, and also an op of a push; so it is heard live on every device like any other write.
"""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Header, Response

from syncserver.api import describe, errors, making, proposal, writing
from syncserver.api.auth import By, InHouse
from syncserver.api.body import Route
from syncserver.api.proposal import Id
from syncserver.core.actor import Actor
from syncserver.core.errors import NotFound, Removed
from syncserver.engine.decide import Ack
from syncserver.engine.house import House
from syncserver.storage.resource import Catalog, Resource

Raw = dict[str, Any]
_Body = Annotated[Raw, Body()]
_Some = Annotated[Raw | None, Body()]
_IfMatch = Annotated[str | None, Header(max_length=64, description="The ETag of the session as you know it.")]
_ERRORS = errors.responses(403, 404, 409)
_RESTS = {
    "pause": ("Pause a reading session", "It rests, and can be resumed on any device. Fields in the body are saved."),
    "abandon": ("Give a reading session up", "It is over and leaves no reading. Fields in the body are saved with it."),
}


def router(catalog: Catalog) -> APIRouter:
    """The routes, beside those that every resource has."""
    sessions = catalog["reading_sessions"]
    routes = APIRouter(prefix=f"/{sessions.path}", tags=[sessions.name], route_class=Route)
    _begin(routes, sessions)
    for op in _RESTS:
        _rest(routes, sessions, op)
    _resume(routes, sessions)
    _complete(routes, sessions, catalog["readings"])
    return routes


def _begin(routes: APIRouter, sessions: Resource) -> None:
    @routes.post(
        "",
        summary="Begin a reading session",
        status_code=201,
        responses={201: describe.created(sessions), **errors.responses(403, 404, 409)},
        openapi_extra=describe.beginning(sessions),
    )
    async def begin(house: InHouse, by: By, body: _Body, if_match: _IfMatch = None) -> Response:
        """`id` is a UUID that you make; left out, the server makes one. Send `mutation_id` again with a retry.

        An id that is there already is written as PUT does.
        """
        return await making.made(house, by, sessions, making.new(sessions, body, if_match))


def _rest(routes: APIRouter, sessions: Resource, op: str) -> None:
    summary, description = _RESTS[op]

    @routes.post(
        f"/{{key}}/{op}",
        name=op,
        summary=summary,
        description=description,
        responses={200: describe.row(sessions, written=True), **_ERRORS},
        openapi_extra=describe.optional(sessions),
    )
    async def rest(house: InHouse, by: By, key: Id, body: _Some = None, if_match: _IfMatch = None) -> Response:
        return await writing.write(house, by, sessions, _action(op, sessions, key, body, if_match))


def _resume(routes: APIRouter, sessions: Resource) -> None:
    @routes.post(
        "/{key}/resume",
        summary="Go on reading",
        responses={200: describe.row(sessions, written=True), 201: describe.created(sessions), **_ERRORS},
        openapi_extra=describe.optional(sessions, identity=True),
    )
    async def resume(house: InHouse, by: By, key: Id, body: _Some = None, if_match: _IfMatch = None) -> Response:
        """On the device that wrote it last the session is active again: 200.

        On another device a new session goes on from it: 201. So it does from one that is completed, where a new
        reading begins, or that was gone on from elsewhere.
        """
        action = _action("resume", sessions, key, body, if_match)
        there = await house.pull.row(by.owner, sessions.name, action["key"])
        if there is None:
            raise NotFound("There is no such row.")
        former = orjson.loads(there.json)
        if _goes_on_itself(former, action.get("device_id", writing.HTTP_DEVICE)):
            return await writing.write(house, by, sessions, action)
        new = making.new(sessions, _next(former, body or {}))
        return await making.made(house, by, sessions, new, former["id"])


def _complete(routes: APIRouter, sessions: Resource, readings: Resource) -> None:
    @routes.post(
        "/{key}/complete",
        summary="Finish a reading session",
        responses={200: describe.row(readings, written=True), **_ERRORS},
        openapi_extra=describe.optional(sessions),
    )
    async def complete(house: InHouse, by: By, key: Id, body: _Some = None, if_match: _IfMatch = None) -> Response:
        """Answers with the reading that it becomes; a second time, from whichever device, with the same one."""
        action = _action("complete", sessions, key, body, if_match)
        if not action["data"] and await house.pull.row(by.owner, readings.name, action["key"]):
            ack = {"status": "duplicate"}  # nothing to say, and nothing to decide
        else:
            ack = await _completed(house, by, sessions, readings, action)
        return await writing.shown(house, by, readings, action["key"], ack)


def _action(op: str, sessions: Resource, key: str, body: Raw | None, if_match: str | None) -> Raw:
    return proposal.mutation(op, sessions, key, body or {}, if_match)


def _goes_on_itself(former: Raw, device_id: object) -> bool:
    """Whether to resume a session on this device makes it active again, and no new one."""
    over = former["status"] == "completed" or former["resumed_as"] is not None
    return former["device_id"] == device_id and not over


def _next(former: Raw, body: Raw) -> Raw:
    """The session that goes on from `former` where that was left; after a completed one, from the very beginning."""
    again = {"locator": None, "percentage": 0.0} if former["status"] == "completed" else {}
    new = {**again, **body, "publication_id": former["publication_id"], "resumed_from": former["id"]}
    start = {f"start_{name}": new[name] for name in again}
    return {**start, **new}


async def _completed(house: House, by: Actor, sessions: Resource, readings: Resource, action: Raw) -> Ack:
    """The ack of a completion, whoever completed the session; raises Superseded where it is not completed."""
    try:
        ack = await writing.proposed(house, by, action)
    except (NotFound, Removed):
        if await house.pull.row(by.owner, readings.name, action["key"]):
            return {"status": "duplicate"}  # the session is gone, what it became is not
        raise
    if "row" not in ack:
        return ack
    winner = writing.winner(ack)
    if winner["resource"] != sessions.name or winner["data"] is None or not sessions.final(winner["data"]):
        raise writing.superseded(house, sessions, action, ack)
    return {"status": "duplicate"}
