"""Tickets stand in for a token, once and for 30 s, where a browser can set no header. Any process redeems them."""

import secrets
from hashlib import sha256

from syncserver.core.actor import Actor
from syncserver.core.errors import Unauthorised
from syncserver.storage import tickets
from syncserver.storage.database import Database

VALID_S = 30
_RANDOM_BYTES = 32


class Tickets:
    """All tickets of one database. Raises Unavailable when it is away."""

    def __init__(self, database: Database, valid_s: float = VALID_S) -> None:
        self._database = database
        self._valid_s = valid_s

    async def issue(self, actor: Actor) -> str:
        """A new ticket for this actor."""
        ticket = secrets.token_urlsafe(_RANDOM_BYTES)
        async with self._database.transaction([actor.owner]) as connection:
            await tickets.keep(connection, _hashed(ticket), actor, self._valid_s)
        return ticket

    async def redeem(self, ticket: str) -> Actor:
        """Who got this ticket, with the token that got it; raises Unauthorised, from the second time on too."""
        async with self._database.transaction([]) as connection:
            found = await tickets.redeem(connection, _hashed(ticket))
        if found is None:
            raise Unauthorised("The ticket is not one that this server gave, or was used, or is too old.")
        return found


def _hashed(ticket: str) -> bytes:
    return sha256(ticket.encode(errors="surrogatepass")).digest()
