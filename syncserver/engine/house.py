"""What every connection of a process shares: the doors, the hub, the clock, and who is here over which transport."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import uuid4

from syncserver.core import encode, frames, values
from syncserver.core.actor import Actor
from syncserver.core.errors import Claimed, Invalid, RateLimited, Unauthorised
from syncserver.engine.catchup import Catchup
from syncserver.engine.claim import Claim
from syncserver.engine.decide import Sender
from syncserver.engine.exports import Exports
from syncserver.engine.imports import Imports
from syncserver.engine.keys import Keys
from syncserver.engine.limits import Limits
from syncserver.engine.neighbours import Alone, Neighbours
from syncserver.engine.outgoing import Flusher
from syncserver.engine.pull import Pull
from syncserver.engine.pulse import Pulse
from syncserver.engine.push import Push
from syncserver.engine.sessions import Sessions
from syncserver.engine.shown import Cookie
from syncserver.engine.statistics import Statistics
from syncserver.engine.tickets import Tickets
from syncserver.engine.verify import Verify
from syncserver.engine.whole import Whole
from syncserver.hub.hub import Hub
from syncserver.hub.news import Wanted

_REPLACED = 4004
_RESTART = 1012
_AT_ONCE = 100
_WAVES = 20
_BACK_EACH_S = 1000


class Goodbye(Protocol):
    """How a guest is asked to leave; with a retry time, the client is told when to come back."""

    def __call__(self, code: int, reason: str, retry_after_s: float | None = None) -> None: ...  # noqa: D102


@dataclass(eq=False, slots=True)
class Guest:
    """Somebody who is here for a while: a socket (it has a `sender`), a stream or a long-poll.

    `offer` queues a frame without waiting, and answers False where there is no room or no way to send it.
    `listens_for`: the id of the device that a stream is for, if it said so. `actor`: by which key it came in, the
    latest it has shown. `refuse`: how it is told that this key does not hold any more, where not by a frame.
    """

    owner: str
    goodbye: Goodbye
    offer: Callable[[bytes], bool]
    sender: Sender | None = None
    app: str | None = None
    listens_for: str | None = None
    id: str = field(default_factory=lambda: str(uuid4()))
    actor: Actor | None = None
    refuse: Callable[[Unauthorised], None] | None = None

    def dismiss(self, error: Unauthorised) -> None:
        """Its key does not hold any more: it is told why, once, and has to leave."""
        self.actor = None
        if self.refuse is not None:
            self.refuse(error)
            return
        if isinstance(error, Claimed):
            self.offer(encode.frame(frames.RefetchFrame(reason=error.code)))
        if self.sender is not None:
            self.offer(encode.frame(frames.ErrorFrame(code=error.code, detail=error.detail)))
        self.goodbye(error.close, error.title, None if self.sender is not None else 0)

    @property
    def device_id(self) -> str | None:
        """The device that hears what is said here, if it is known."""
        return self.sender.device.id if self.sender is not None else self.listens_for


Verb = Callable[[Guest, Any], Awaitable[bytes | None]]
"""What answers one type of frame on a socket. It gives the answer as a frame, or None; it may raise SyncError."""


class House:
    """`keys`: who may come in. `epoch`: the log's identity; `epoch_now`: the same, where it need not be asked for.

    `verified`: since when an owner's positions are known to be true (None: not known). `verbs`: what answers frames
    that a connection does not answer itself. `gone`: hears of each guest who has left. `readers`: how many may read
    the log at once. `limits`: how much of everything one guest may have. `origins`: of which other
    web pages may speak to the server. `cookie`: which one may hold the token. `neighbours`: the other workers.
    """

    def __init__(
        self,
        *,
        push: Push,
        whole: Whole,
        imports: Imports,
        exports: Exports,
        pull: Pull,
        hub: Hub,
        keys: Keys,
        tickets: Tickets,
        sessions: Sessions,
        claim: Claim,
        verification: Verify,
        statistics: Statistics,
        verified: Callable[[str], datetime | None],
        epoch: Callable[[], Awaitable[str]],
        epoch_now: Callable[[], str | None] = lambda: None,
        now: Callable[[], datetime],
        verbs: Mapping[type[values.Model], Verb] | None = None,
        gone: Callable[[Guest], None] = lambda _guest: None,
        heartbeat_s: float = 15,
        hello_timeout_s: float = 10,
        readers: int = 6,
        limits: Limits | None = None,
        origins: Collection[str] = (),
        cookie: Cookie | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        self.push = push
        self.whole = whole
        self.imports = imports
        self.exports = exports
        self.pull = pull
        self.hub = hub
        self.keys = keys
        self.tickets = tickets
        self.sessions = sessions
        self.claim = claim
        self.verification = verification
        self.statistics = statistics
        self.verified = verified
        self.epoch = epoch
        self.epoch_now = epoch_now
        self.now = now
        self.verbs = verbs or {}
        self.heartbeat_s = heartbeat_s
        self.hello_timeout_s = hello_timeout_s
        self.reading = asyncio.Semaphore(readers)
        self.catchup = Catchup(pull.pages)
        self.flusher = Flusher()
        self.pulse = Pulse(heartbeat_s)
        self.limits = limits or Limits()
        self.origins = origins
        self.cookie = cookie or Cookie()
        self._neighbours = neighbours or Alone()
        self.draining = False
        self._gone = gone
        self._here: dict[str, dict[Guest, None]] = {}
        self._sockets: dict[tuple[str, str], Guest] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def wanted(self, names: str | None) -> Wanted:
        """The resources that a query names, separated by commas (None: all); raises Invalid."""
        if names is None:
            return None
        try:
            return self.pull.known(names.split(","))
        except Invalid as error:
            raise Invalid(error.detail, [{"pointer": "/query/resources", "detail": error.detail}]) from None

    def room(self, owner: str, client_id: str | None = None) -> None:
        """Raise RateLimited where there is none for a socket of this client (None: for a stream or long-poll)."""
        here = self._here.get(owner, ())
        if client_id is None:
            self.limits.stream(sum(guest.sender is None for guest in here) + self._neighbours.streams(owner))
        else:
            older = self._sockets.get((owner, client_id))
            present = sum(guest.sender is not None and guest is not older for guest in here)
            self.limits.socket(present + self._neighbours.sockets(owner, client_id))

    def entered(self, guest: Guest) -> None:
        """Somebody is let in; an older socket of the same owner and client id makes room. Raises RateLimited."""
        client_id = guest.sender.client_id if guest.sender is not None else None
        self._neighbours.entered(guest.owner, client_id)
        try:
            self.room(guest.owner, client_id)
        except RateLimited:
            self._neighbours.left(guest.owner, client_id)
            raise
        self._here.setdefault(guest.owner, {})[guest] = None
        self._empty.clear()
        if client_id is not None:
            self.replaced(guest.owner, client_id)
            self._sockets[guest.owner, client_id] = guest
            self._neighbours.newest(guest.owner, client_id)
        if self.draining:
            _send_away(guest, 0, 0)
        if guest.actor is not None:
            self.keys.shown(guest)

    def replaced(self, owner: str, client_id: str) -> None:
        """A newer socket of this client is there, here or in another worker: an older one that is here has to go."""
        older = self._sockets.get((owner, client_id))
        if older is not None:
            older.goodbye(_REPLACED, "replaced by a newer connection of this client")

    def left(self, guest: Guest) -> None:
        """Somebody is gone."""
        here = self._here.get(guest.owner, {})
        if guest not in here:
            return
        del here[guest]
        if not here:
            del self._here[guest.owner]
        client_id = guest.sender.client_id if guest.sender is not None else None
        self._neighbours.left(guest.owner, client_id)
        if client_id is not None and self._sockets.get((guest.owner, client_id)) is guest:
            del self._sockets[guest.owner, client_id]
            self._neighbours.gone(guest.owner, client_id)
        if not self._here:
            self._empty.set()
        self._gone(guest)

    def of(self, owner: str) -> Collection[Guest]:
        """Who of this owner is here in this process, in order of coming."""
        return list(self._here.get(owner, ()))

    def __iter__(self) -> Iterator[Guest]:
        return iter([guest for here in self._here.values() for guest in here])

    def __len__(self) -> int:
        return sum(map(len, self._here.values()))

    async def drain(self, over_s: float, within_s: float) -> None:
        """Tell everybody goodbye, with differing times to come back, and wait until they have left.

        A few leave at once, many in waves over `over_s`; nobody is waited for longer than `within_s` after that.
        """
        self.draining = True
        self.imports.stop()
        guests = list(self)
        size = max(_AT_ONCE, math.ceil(len(guests) / _WAVES))
        waves = [guests[first : first + size] for first in range(0, len(guests), size)]
        for number, wave in enumerate(waves):
            if number:
                await asyncio.sleep(over_s / _WAVES)
            until_restart_s = (len(waves) - number - 1) * over_s / _WAVES
            for guest in wave:
                _send_away(guest, until_restart_s, max(1.0, len(guests) / _BACK_EACH_S))
        try:
            async with asyncio.timeout(within_s):
                await self._empty.wait()
        except TimeoutError:
            pass  # who has not left by now is cut by the transport


def _send_away(guest: Guest, from_s: float, spread_s: float) -> None:
    retry_after_s = round(0.2 + from_s + random.uniform(0, spread_s), 2)  # noqa: S311 - jitter, not a secret
    guest.goodbye(_RESTART, "the server restarts", retry_after_s)
