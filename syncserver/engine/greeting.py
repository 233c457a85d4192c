"""From the upgrade to `welcome`: who is it, on which device, until when."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from syncserver.core import clock, frames
from syncserver.core.actor import Actor
from syncserver.core.errors import HelloTimeout, Unauthorised
from syncserver.core.protocol import Protocol
from syncserver.engine.house import House

log = logging.getLogger(__name__)


async def hello(protocol: Protocol, message: Callable[[], Awaitable[str | bytes]], within_s: float) -> frames.Hello:
    """The first frame; raises HelloTimeout, and what the protocol raises for a frame that is no hello."""
    try:
        async with asyncio.timeout(within_s):
            frame = protocol.receive(await message())
    except TimeoutError:
        raise HelloTimeout(f"No hello came within {within_s} s.") from None
    if not isinstance(frame, frames.Hello):  # the protocol lets nothing else through
        raise TypeError(type(frame))
    return frame


async def who(house: House, said: frames.Hello, cookie: Callable[[], str | None]) -> Actor:
    """The actor of the token or ticket in a hello, or else of a cookie; raises SyncError, which ends the connection."""
    if said.ticket is not None:
        return await house.keys.by_ticket(said.ticket)
    token = said.token if said.token is not None else cookie()
    if token is None:
        raise Unauthorised("This needs a token or a ticket.")
    return await house.keys.by_token(token)


async def welcome(house: House, actor: Actor, said: frames.Hello, connection: str) -> frames.Welcome:
    """The answer to a good hello."""
    now = house.now()
    drift_s = clock.drift_s(said.sent_at, now)
    if drift_s is not None:
        log.warning("a device's clock is %.0f s off", drift_s)
    return frames.Welcome(
        connection=connection,
        server_time=now,
        echo=said.sent_at,
        heartbeat_s=house.heartbeat_s,
        limits=frames.Limits(frame_bytes=house.limits.frame_bytes),
        token_expires_at=actor.expires_at,
        epoch=await house.epoch(),
        drift_s=drift_s,
    )
