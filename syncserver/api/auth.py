"""Who asks over HTTP: the bearer token of the Authorization header, and nothing else."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from syncserver.core.actor import Actor
from syncserver.core.errors import Unauthorised
from syncserver.engine.house import House

_bearer = HTTPBearer(auto_error=False, description="A token from `syncserver token --user NAME`.")


def the_house(request: Request) -> House:
    """What this process shares; the wiring put it there."""
    house: House = request.app.state.house
    return house


async def actor(
    house: Annotated[House, Depends(the_house)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Actor:
    """The actor of a request; raises Unauthorised."""
    if credentials is None:
        raise Unauthorised("This needs an Authorization header with a bearer token.")
    return await house.keys.by_token(credentials.credentials)


InHouse = Annotated[House, Depends(the_house)]
By = Annotated[Actor, Depends(actor)]
