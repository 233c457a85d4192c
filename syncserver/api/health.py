"""/healthz: the process answers. /readyz: and it can do its work; where it cannot, which part of it is the reason."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from syncserver.api import errors
from syncserver.api.auth import InHouse
from syncserver.core.errors import Unavailable
from syncserver.engine.readiness import Part, Readiness

router = APIRouter(tags=["health"])
_UNCACHED = {"Cache-Control": "no-store"}


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(Alive):
    """Every part that was tried, each of them `ok`."""

    parts: dict[str, Part]


def the_readiness(request: Request) -> Readiness:
    """What tries the parts; the wiring put it there."""
    readiness: Readiness = request.app.state.readiness
    return readiness


@router.get("/healthz", summary="The process answers")
async def alive(response: Response) -> Alive:
    """Whatever the database does."""
    response.headers.update(_UNCACHED)
    return Alive()


@router.get("/readyz", summary="The server can do its work", response_model=Ready, responses=errors.responses(503))
async def ready(house: InHouse, readiness: Annotated[Readiness, Depends(the_readiness)]) -> Any:
    """The database answers and takes writes, is at the migration that this server needs, and its doorbell is heard.

    503 while one of them is not so, with the reason for each part; it is looked at anew each time.
    """
    if house.draining:
        raise Unavailable("The server is stopping.")
    found = Ready(parts=await readiness.look())
    wrong = Unavailable(" ".join(part.detail for part in found.parts.values() if part.detail is not None))
    if wrong.detail:
        return errors.problem(wrong, parts=found.model_dump(exclude_none=True)["parts"])
    return Response(found.model_dump_json(exclude_none=True), 200, _UNCACHED, "application/json")
