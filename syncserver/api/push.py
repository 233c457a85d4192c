"""POST /api/v1/push: mutations over plain HTTP; the same ledger as the socket, so a retry may change transport."""

import orjson
from fastapi import APIRouter, Response

from syncserver.api import body as bodies
from syncserver.api import errors
from syncserver.api.auth import By, InHouse
from syncserver.core import frames
from syncserver.core.actor import Device
from syncserver.engine.decide import Sender

router = APIRouter(tags=["changes"], route_class=bodies.Route)


@router.post(
    "/push",
    summary="Propose writes",
    response_model=frames.PushAnswer,
    responses=errors.responses(400, 401, 413, 422, 503),
)
async def push(house: InHouse, by: By, body: frames.PushBody) -> Response:
    """Each mutation is answered on its own, in order; see `status`, and `code` where it is rejected."""
    sender = Sender(by.owner, Device(body.device.id, body.device.name), body.client_id)
    acks = await house.push.push(sender, body.mutations)
    answer = {"acks": acks, "cursor": await house.pull.cursor(by.owner)}
    return Response(orjson.dumps(answer), 200, {"Cache-Control": "no-store"}, "application/json")
