"""POST /api/v1/tickets: what a browser shows in place of its token where it can set no header."""

from fastapi import APIRouter, Response

from syncserver.api import errors
from syncserver.api.auth import By, InHouse
from syncserver.core import bodies, encode
from syncserver.engine.tickets import VALID_S

router = APIRouter(tags=["changes"])


@router.post(
    "/tickets",
    summary="A ticket for a socket or stream",
    status_code=201,
    response_model=bodies.TicketAnswer,
    responses=errors.responses(401, 503),
)
async def issue(house: InHouse, by: By) -> Response:
    """Good once, within 30 s, in the `hello` of a socket or as `ticket=` of a stream."""
    house.limits.ticket(by.owner)
    answer = bodies.TicketAnswer(ticket=await house.tickets.issue(by), expires_in_s=VALID_S)
    return Response(encode.frame(answer), 201, {"Cache-Control": "no-store"}, "application/json")
