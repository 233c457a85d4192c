"""New sessions: while one commit is under way, those that are asked for wait, and go together in the next.

So a crowd costs a handful of transactions, and nobody else waits behind it for a connection.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from syncserver.core.actor import session_owner
from syncserver.core.errors import SyncError, Unavailable
from syncserver.engine.again import again
from syncserver.storage import sessions
from syncserver.storage.database import Database
from syncserver.storage.sessions import Kept

log = logging.getLogger(__name__)
_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class _Waiting:
    workspace: bool
    id: UUID = field(default_factory=uuid4)
    made: asyncio.Future[Kept | SyncError] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Beginnings:
    """All new sessions of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: deque[_Waiting] = deque()
        self._maker: asyncio.Task[None] | None = None

    async def begin(self, *, workspace: bool = False) -> tuple[UUID, Kept]:
        """A session that was not there before, `workspace`: with the nodes that one begins with; raises Unavailable."""
        waiting = _Waiting(workspace)
        self._queue.append(waiting)
        if self._maker is None:
            self._maker = asyncio.create_task(self._make_all())
        made = await asyncio.shield(waiting.made)
        if isinstance(made, SyncError):
            raise made
        return waiting.id, made

    async def _make_all(self) -> None:
        taken: list[_Waiting] = []
        try:
            while self._queue:
                taken = [self._queue.popleft() for _ in range(min(_AT_ONCE, len(self._queue)))]
                found = await self._made(taken)
                for waiting, kept in zip(taken, found, strict=True):
                    waiting.made.set_result(kept)
        finally:
            self._maker = None
            for waiting in (*taken, *self._queue):
                waiting.made.cancel()  # no more than those that have no answer
            self._queue.clear()

    async def _made(self, taken: Sequence[_Waiting]) -> Sequence[Kept | SyncError]:
        try:
            return await again(lambda: self._transact(taken))
        except Unavailable as error:
            log.warning("anonymous sessions could not be made: the database does not answer")
            return [error] * len(taken)

    async def _transact(self, taken: Sequence[_Waiting]) -> Sequence[Kept]:
        ids = [waiting.id for waiting in taken]
        async with self._database.transaction([session_owner(session_id) for session_id in ids]) as connection:
            made = await sessions.begin(connection, ids)
            await sessions.furnish(connection, [waiting.id for waiting in taken if waiting.workspace])
        return [made[session_id] for session_id in ids]
