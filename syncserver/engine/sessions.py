"""Anonymous sessions, from the first request to the last: made, looked at, ended.

An id is not a key. Whoever asks about a session is its owner: the visitor until it is claimed, then the reader.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from syncserver.core.actor import session_owner
from syncserver.core.errors import NotFound, Unavailable
from syncserver.engine import tokens
from syncserver.engine.again import again
from syncserver.engine.beginnings import Beginnings
from syncserver.storage import sessions
from syncserver.storage.database import Database
from syncserver.storage.sessions import Kept

log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Begun:
    """A new session, and the one key to it."""

    id: UUID
    kept: Kept
    token: str


class Sessions:
    """All sessions of one database. Every method raises Unavailable when it is away, and NotFound for no such session.

    `secret` signs visitors' tokens. `ended(owner)` is called at once when this process ended a visitor's session. A
    visitor's answer to `validate` is given again for `fresh_s`; at most `remembered` of them are.
    """

    def __init__(
        self,
        database: Database,
        secret: bytes,
        now: Callable[[], datetime],
        *,
        ended: Callable[[str], None] = lambda _owner: None,
        fresh_s: float = 5,
        remembered: int = 10_000,
    ) -> None:
        self._database = database
        self._beginnings = Beginnings(database)
        self._secret = secret
        self._now = now
        self._ended = ended
        self._fresh_s = fresh_s
        self._remembered = remembered
        self._known: dict[str, tuple[float, Kept]] = {}
        self._reading: dict[str, object] = {}  # the newest reading of each, until its doorbell rings

    async def begin(self, *, workspace: bool = False) -> Begun:
        """A new session, of nobody in particular; `workspace`: with its first nodes, in the same transaction."""
        session_id, kept = await self._beginnings.begin(workspace=workspace)
        log.info("an anonymous session was made")
        return Begun(session_id, kept, tokens.mint_session(self._secret, session_id, self._now()))

    async def validate(self, owner: str, session_id: UUID) -> Kept:
        """What is known of the owner's session, which counts as accessed; asked again soon, the same once more."""
        if owner != session_owner(session_id):
            return await self.touch(owner, session_id)  # claimed: no doorbell would say that its row has gone
        read_at, known = self._known.get(owner, (float("-inf"), None))
        if known is not None and _monotonic() - read_at < self._fresh_s:
            return known
        reading = self._reading[owner] = object()
        try:
            kept = await self.touch(owner, session_id)
            if self._reading.get(owner) is reading:
                self._remember(owner, kept)
        finally:
            if self._reading.get(owner) is reading:
                del self._reading[owner]
        return kept

    async def touch(self, owner: str, session_id: UUID) -> Kept:
        """The session is accessed now, and no device hears of that."""
        async with _warned("touched"):
            return await again(lambda: self._touch(owner, session_id))

    async def exists(self, owner: str, session_id: UUID) -> bool:
        """Whether the owner has this session; nothing is touched."""
        async with self._database.transaction([owner]) as connection:
            return await sessions.find(connection, owner, session_id) is not None

    async def end(self, owner: str, session_id: UUID) -> None:
        """A visitor's session goes, and all that it ever owned with it; of a claimed one, the row and its workspace."""
        async with _warned("deleted"):
            await again(lambda: self._end(owner, session_id))
        if owner == session_owner(session_id):
            self.forget(owner)
            self._ended(owner)
        log.info("an anonymous session was deleted")

    def forget(self, owner: str) -> None:
        """What is remembered of this owner, or is being read at this moment, may not be true any more."""
        self._known.pop(owner, None)
        self._reading.pop(owner, None)

    def forget_all(self) -> None:
        """The same of every owner: doorbells may have been missed."""
        self._known.clear()
        self._reading.clear()

    def _remember(self, owner: str, kept: Kept) -> None:
        self._known.pop(owner, None)  # the oldest stand first
        self._known[owner] = (_monotonic(), kept)
        while len(self._known) > self._remembered:
            del self._known[next(iter(self._known))]

    # -- transactions --------------------------------------------------------

    async def _touch(self, owner: str, session_id: UUID) -> Kept:
        async with self._database.transaction([owner]) as connection:
            return _there(await sessions.touch(connection, owner, session_id))

    async def _end(self, owner: str, session_id: UUID) -> None:
        """Queued behind the owner's writes, so that none of them meets a session half gone."""
        async with self._database.transaction([owner], queue=True) as connection:
            _there(await sessions.end(connection, owner, session_id) or None)


@asynccontextmanager
async def _warned(what: str) -> AsyncIterator[None]:
    """Around something that the database does: whoever reads the log hears when it could not."""
    try:
        yield
    except Unavailable:
        log.warning("an anonymous session could not be %s: the database does not answer", what)
        raise


def _there(found: _T | None) -> _T:
    if found is None:
        raise NotFound("There is no such session.")
    return found


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
