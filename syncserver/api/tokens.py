"""DELETE /api/v1/token: sign out, so that the very token that is shown does not hold any more, anywhere."""

from fastapi import APIRouter, Response

from syncserver.api import errors
from syncserver.api.auth import By, InHouse

router = APIRouter(tags=["signing in"])


@router.delete(
    "/token",
    summary="Sign out",
    status_code=204,
    response_class=Response,
    responses=errors.responses(403, 422),
)
async def revoke(house: InHouse, by: By) -> Response:
    """Takes back the token of this request, and ends every connection that came in with it. Other tokens stay."""
    await house.keys.revoke(by)
    return Response(None, 204, {"Cache-Control": "no-store"})
