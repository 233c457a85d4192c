"""/healthz: the process answers. /readyz: and it can do its work."""

from fastapi import APIRouter, Response

from syncserver.api import errors
from syncserver.api.auth import InHouse
from syncserver.core.errors import Unavailable

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The process answers")
async def alive() -> dict[str, str]:
    """Whatever the database does."""
    return {"status": "ok"}


@router.get("/readyz", summary="The server can do its work", responses=errors.responses(503))
async def ready(house: InHouse, response: Response) -> dict[str, str]:
    """The database answers, and the server is not about to stop."""
    response.headers["Cache-Control"] = "no-store"
    if house.draining:
        raise Unavailable("The server is stopping.")
    epoch, _ = await house.pull.heads([])
    return {"status": "ok", "epoch": epoch}
