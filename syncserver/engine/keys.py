"""Whose key it is, and whether it still holds: every way in asks here, and nowhere else.

A key that is taken back while its guest is here ends the visit at once, in whichever process that is.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Protocol

from syncserver.core.actor import Actor, session_id
from syncserver.core.errors import Claimed, Forbidden, Invalid, Unauthorised, Unavailable
from syncserver.engine.standings import Standings
from syncserver.engine.tickets import Tickets
from syncserver.storage import revocations
from syncserver.storage.database import Database
from syncserver.storage.revocations import Standing

log = logging.getLogger(__name__)
_RETRY_S = 0.2


class Verifier(Protocol):
    """What a token says, by its signature alone."""

    def known(self, token: str) -> Actor | None:
        """The actor of a token that was verified before, and still would be."""

    async def __call__(self, token: str) -> Actor:
        """The actor of any other; raises Unauthorised, Unavailable."""


class Visitor(Protocol):
    """A guest of the house, as far as its key goes."""

    owner: str
    actor: Actor | None

    def dismiss(self, error: Unauthorised) -> None:
        """Send it away, saying why."""


class Keys:
    """`verify`: see Verifier. `here`: who of an owner (None: of all) is here."""

    def __init__(
        self,
        verify: Verifier,
        tickets: Tickets,
        database: Database,
        here: Callable[[str | None], Collection[Visitor]] = lambda _owner: (),
    ) -> None:
        self._verify = verify
        self._tickets = tickets
        self._database = database
        self._here = here
        self._standings = Standings(database)
        self._rung: set[str] = set()
        self._bell = asyncio.Event()

    # -- coming in -----------------------------------------------------------

    async def by_token(self, token: str) -> Actor:
        """Who shows this token; raises Unauthorised, Unavailable."""
        actor = await self._verify(token)
        await self.hold(actor)
        return actor

    def known(self, token: str) -> Actor | None:
        """Who shows this token, where all that says so is in memory; None: `by_token` has to look, and says why not."""
        actor = self._verify.known(token)
        if actor is None:
            return None
        standing = self._standings.known(actor.owner)
        return actor if standing is not None and _fault(standing, actor) is None else None

    async def read(self, token: str) -> Actor:
        """Whose token it is, by its signature alone (only `hold` says whether it holds); Unauthorised, Unavailable."""
        return await self._verify(token)

    async def by_ticket(self, ticket: str) -> Actor:
        """Who was given this ticket, once; raises Unauthorised, Unavailable."""
        actor = await self._tickets.redeem(ticket)
        await self.hold(actor)
        return actor

    async def hold(self, actor: Actor) -> None:
        """Raise Unauthorised where this actor's token was revoked, or its session has ended (Claimed: in a claim)."""
        error = _fault(await self._standings.of(actor.owner), actor)
        if error is not None:
            raise error

    def shown(self, guest: Visitor) -> None:
        """To be called when a guest is in the house, and when it has shown a new key there.

        Its key may have been taken back since it was looked at: then nobody has found this guest with it yet.
        """
        standing = self._standings.known(guest.owner)
        if standing is None:
            self.ring(guest.owner)
        else:
            _judge(standing, guest)

    # -- being taken back ----------------------------------------------------

    async def revoke(self, actor: Actor) -> None:
        """Take back the very token that this actor has shown; raises Forbidden, Invalid, Unavailable."""
        if session_id(actor.owner) is not None:
            raise Forbidden("A visitor's token ends with the session: DELETE /api/v1/sessions/{id}.")
        if actor.token_id is None:
            raise Invalid("This token has no id (jti), so it cannot be taken back; it ends by itself.")
        async with self._database.transaction([actor.owner]) as connection:
            ends_at = actor.expires_at or revocations.FOR_GOOD
            await revocations.revoke(connection, actor.owner, actor.token_id, ends_at)
        self.ring(actor.owner)

    def ring(self, owner: str) -> None:
        """A doorbell: the owner stands otherwise than before."""
        self._standings.drop(owner)
        self._rung.add(owner)
        self._bell.set()

    def listening(self) -> None:
        """Doorbells are heard (again): what was missed is made good."""
        self._standings.drop_all()
        self._rung.update(guest.owner for guest in self._here(None))
        self._bell.set()

    async def run(self) -> None:
        """Look again at the guests of those whose doorbell rang, until cancelled."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            rung, self._rung = self._rung, set()
            await asyncio.gather(*(self._look(owner) for owner in rung if self._here(owner)))

    async def _look(self, owner: str) -> None:
        try:
            standing = await self._standings.of(owner)
        except Unavailable:
            await asyncio.sleep(_RETRY_S)
            self._rung.add(owner)
            self._bell.set()
            return
        for guest in self._here(owner):
            _judge(standing, guest)


def _judge(standing: Standing, guest: Visitor) -> None:
    error = _fault(standing, guest.actor) if guest.actor is not None else None
    if error is not None:
        guest.dismiss(error)


def _fault(standing: Standing, actor: Actor) -> Unauthorised | None:
    """Why this actor may not be here any more."""
    if standing.state == "claimed":
        return Claimed()
    if standing.state == "ended":
        return Unauthorised("This session has ended.")
    if standing.revoked(actor.token_id, actor.issued_at):
        return Unauthorised("The token was taken back: sign in again.")
    return None
