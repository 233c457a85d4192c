"""Who asks over HTTP: the bearer token of the Authorization header, or of a cookie where the operator turns that on."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from syncserver.core import address
from syncserver.core.actor import Actor
from syncserver.core.errors import Unauthorised
from syncserver.engine import shown
from syncserver.engine.house import House

_bearer = HTTPBearer(auto_error=False, description="A token from `syncserver token --user NAME`.")


def the_house(request: Request) -> House:
    """What this process shares; the wiring put it there."""
    house: House = request.app.state.house
    return house


async def token(
    request: Request,
    house: Annotated[House, Depends(the_house)],
    _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],  # for the OpenAPI document
) -> str:
    """The token that a request shows, not looked at yet; raises Unauthorised where there is none."""
    found = shown.token(house.cookie, request.method, request.headers, request.query_params)
    if found is None:
        raise Unauthorised("This needs an Authorization header with a bearer token.")
    return found


async def actor(
    request: Request, house: Annotated[House, Depends(the_house)], key: Annotated[str, Depends(token)]
) -> Actor:
    """The actor of a request; raises Unauthorised, RateLimited."""
    with house.limits.key_from(address.of(request.scope)):
        found = await house.keys.by_token(key)
    house.limits.request(found.owner)
    return found


InHouse = Annotated[House, Depends(the_house)]
Shown = Annotated[str, Depends(token)]
By = Annotated[Actor, Depends(actor)]
