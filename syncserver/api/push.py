"""POST /api/v1/push: mutations over plain HTTP; the same ledger as the socket, so a retry may change transport."""

import logging
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Response

from syncserver.api import frame_examples
from syncserver.api.auth import By, InHouse
from syncserver.api.body import Route
from syncserver.core import bodies, clock
from syncserver.core.actor import Device
from syncserver.engine.decide import Sender

log = logging.getLogger(__name__)
router = APIRouter(tags=["changes"], route_class=Route)


@router.post(
    "/push",
    summary="Propose writes",
    response_model=bodies.PushAnswer,
)
async def push(
    house: InHouse, by: By, body: Annotated[bodies.PushBody, Body(examples=[frame_examples.PUSH])]
) -> Response:
    """Each mutation is answered on its own, in order; see `status`, and `code` where it is rejected."""
    sender = Sender(by.owner, Device(body.device.id, body.device.name), body.client_id)
    acks = await house.push.push(sender, body.mutations)
    answer: dict[str, Any] = {"acks": acks, "cursor": await house.pull.cursor(by.owner)}
    drift_s = clock.drift_s(body.sent_at, house.now()) if body.sent_at is not None else None
    if drift_s is not None:
        log.debug("a device's clock is off by %d s", drift_s)
        answer["drift_s"] = drift_s
    return Response(orjson.dumps(answer), 200, {"Cache-Control": "no-store"}, "application/json")
