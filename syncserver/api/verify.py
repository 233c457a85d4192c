"""POST /api/v1/verify: a client that holds everything asks whether that is what the log says; as the frame."""

from typing import Annotated

from fastapi import APIRouter, Body, Response

from syncserver.api import describe, errors, frame_examples
from syncserver.api.auth import By, InHouse
from syncserver.api.body import Route
from syncserver.core import bodies

router = APIRouter(tags=["changes"], route_class=Route)


@router.post(
    "/verify",
    summary="Do I hold what you hold?",
    response_model=bodies.VerifyAnswer,
    responses={**describe.OK, **errors.responses(410)},
)
async def verify(
    house: InHouse,
    by: By,
    body: Annotated[bodies.VerifyBody, Body(examples=[frame_examples.VERIFY])],
    response: Response,
) -> bodies.VerifyAnswer:
    """`moved`: the cursor is not the newest any more, catch up and ask again. 410: fetch everything again."""
    response.headers["Cache-Control"] = "private, no-store"
    outcome = await house.verification.compare(by.owner, body.cursor, body.digests, root="/body")
    return bodies.VerifyAnswer(cursor=body.cursor, outcome=outcome)
