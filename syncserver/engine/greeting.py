"""From hello to `welcome`: who is it, on which device, until when."""

import logging
from collections.abc import Callable

from syncserver.core import clock, encode, frames, values
from syncserver.core.actor import Actor
from syncserver.core.errors import Unauthorised
from syncserver.engine.house import House

log = logging.getLogger(__name__)


def known(house: House, said: frames.Hello, cookie: Callable[[], str | None]) -> tuple[Actor | None, str | None]:
    """The actor of a hello and the log's epoch, as far as neither has to be waited for; raises as `who`."""
    if said.ticket is not None:
        return None, None
    return house.keys.known(_token(said, cookie)), house.epoch_now()


async def who(house: House, said: frames.Hello, cookie: Callable[[], str | None]) -> Actor:
    """The actor of the token or ticket in a hello, or else of a cookie; raises SyncError, which ends the connection."""
    if said.ticket is not None:
        return await house.keys.by_ticket(said.ticket)
    return await house.keys.by_token(_token(said, cookie))


def _token(said: frames.Hello, cookie: Callable[[], str | None]) -> str:
    token = said.token if said.token is not None else cookie()
    if token is None:
        raise Unauthorised("This needs a token or a ticket.")
    return token


def welcome(house: House, actor: Actor, said: frames.Hello, connection: str, epoch: str) -> bytes:
    """The answer to a good hello."""
    now = house.now()
    drift_s = clock.drift_s(said.sent_at, now)
    if drift_s is not None:
        log.warning("a device's clock is %.0f s off", drift_s)
    return encode.welcome(
        connection,
        now,
        said.sent_at,
        epoch,
        heartbeat_s=house.heartbeat_s,
        limits={"frame_bytes": house.limits.frame_bytes, "mutations": values.MUTATIONS},
        token_expires_at=clock.write(actor.expires_at) if actor.expires_at is not None else None,
        drift_s=drift_s,
    )
