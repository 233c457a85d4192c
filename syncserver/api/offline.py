"""POST /api/v1/reading-sessions/sync: what a device that was away has read, each session answered on its own."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Response

from syncserver.api import describe, writing
from syncserver.api.auth import By, InHouse
from syncserver.api.body import Route
from syncserver.api.session_conflicts import read
from syncserver.core import reading_bodies
from syncserver.core.actor import Device
from syncserver.engine.decide import Sender
from syncserver.engine.homecoming import Homecoming
from syncserver.storage.resource import Catalog

_Body = Annotated[dict[str, Any], Body()]


def router(catalog: Catalog) -> APIRouter:
    """The route, beside those that every resource has."""
    sessions = catalog["reading_sessions"]
    routes = APIRouter(prefix=f"/{sessions.path}", tags=[sessions.name], route_class=Route)

    @routes.post(
        "/sync",
        summary="Tell what was read offline",
        response_model=reading_bodies.OfflineAnswer,
        responses=describe.OK,
        openapi_extra=describe.batch(reading_bodies.OfflineSync, reading_bodies.OfflineSession, "sessions", sessions),
    )
    async def sync(house: InHouse, by: By, body: _Body) -> Response:
        """Each session is judged on its own; a wrong one is rejected alone. Safe to send again: nothing counts twice.

        Sessions go in the order in which they were read; send those that are `deferred` again.
        """
        batch = read(reading_bodies.OfflineSync, body)
        sender = Sender(by.owner, Device(batch.device.id, batch.device.name), batch.client_id)
        coming = Homecoming(house.push, house.pull, sender)
        for session in batch.sessions:
            await coming.take(session)
        totals = {"active_seconds": coming.seconds(house.now())}
        answer = {"results": coming.results, "ids": coming.ids, "totals": totals}
        return Response(orjson.dumps(answer), 200, writing.PRIVATE, "application/json")

    return routes
