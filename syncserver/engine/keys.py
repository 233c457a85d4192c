"""Whose key it is, and whether it still holds: every way in asks here, and nowhere else."""

from collections.abc import Awaitable, Callable

from syncserver.core.actor import Actor
from syncserver.engine.tickets import Tickets


class Keys:
    """`verify`: what a token says, by its signature alone."""

    def __init__(self, verify: Callable[[str], Awaitable[Actor]], tickets: Tickets) -> None:
        self._verify = verify
        self._tickets = tickets

    async def by_token(self, token: str) -> Actor:
        """Who shows this token; raises Unauthorised, Unavailable."""
        actor = await self._verify(token)
        await self.hold(actor)
        return actor

    async def by_ticket(self, ticket: str) -> Actor:
        """Who was given this ticket, once; raises Unauthorised, Unavailable."""
        actor = await self._tickets.redeem(ticket)
        await self.hold(actor)
        return actor

    async def hold(self, actor: Actor) -> None:
        """Raise Unauthorised where this actor's token was revoked, or its session has ended."""
