"""POST /api/v1/verify: a client that holds everything asks whether that is what the log says; as the frame."""

from fastapi import APIRouter, Response

from syncserver.api import errors
from syncserver.api.auth import By, InHouse
from syncserver.api.body import Route
from syncserver.core import bodies

router = APIRouter(tags=["changes"], route_class=Route)


@router.post(
    "/verify",
    summary="Do I hold what you hold?",
    response_model=bodies.VerifyAnswer,
    responses=errors.responses(400, 401, 410, 413, 422, 503),
)
async def verify(house: InHouse, by: By, body: bodies.VerifyBody, response: Response) -> bodies.VerifyAnswer:
    """`moved`: the cursor is not the newest any more, catch up and ask again. 410: fetch everything again."""
    response.headers["Cache-Control"] = "private, no-store"
    outcome = await house.verification.compare(by.owner, body.cursor, body.digests, root="/body")
    return bodies.VerifyAnswer(cursor=body.cursor, outcome=outcome)
