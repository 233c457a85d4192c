"""Can this process do its work now? The database, its migrations and the doorbell are each tried, not remembered."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from syncserver.core.errors import Unavailable
from syncserver.feed import proof
from syncserver.feed.proof import Proof
from syncserver.storage import fitness
from syncserver.storage.database import Contention, Database


@dataclass(frozen=True, slots=True)
class Part:
    """One part that was tried; `detail` says what is wrong where it is not `ok`.

    `at`: the migration that the database is at. `lag_s`: seconds from a doorbell's ringing to its being heard.
    """

    ok: bool
    detail: str | None = None
    at: str | None = None
    lag_s: float | None = None


class Readiness:
    """`migration`: the one that this server was written for. `connected`: whether the listener's line stands.

    Whoever asks while a look is under way shares it, so that asking often costs no more. A look ends within twice
    `within_s`.
    """

    def __init__(
        self,
        database: Database,
        bell: Proof,
        *,
        migration: str,
        connected: Callable[[], bool],
        within_s: float = 2,
    ) -> None:
        self._database = database
        self._bell = bell
        self._migration = migration
        self._connected = connected
        self._within_s = within_s
        self._look: asyncio.Task[dict[str, Part]] | None = None

    async def look(self) -> dict[str, Part]:
        """Every part that could be tried, by name: `database`, `migrations`, `listener`."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._tried())
        return await asyncio.shield(self._look)

    async def _tried(self) -> dict[str, Part]:
        asked_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._within_s):
                found = await self._asked()
        except (Unavailable, Contention, TimeoutError):
            return {"database": Part(ok=False, detail="The database does not answer."), "listener": self._line()}
        return {
            "database": Part(found.writable, None if found.writable else "The database takes no writes."),
            "migrations": self._migrated(found.migration),
            "listener": await self._listening(asked_at) if _rings(found) else self._line(),
        }

    async def _asked(self) -> fitness.Fitness:
        """Look, and ring where that is possible."""
        async with self._database.transaction([]) as connection:
            found = await fitness.look(connection)
            if _rings(found):
                await fitness.ring(connection, proof.CHANNEL, self._bell.begin())
        return found

    def _migrated(self, at: str | None) -> Part:
        if at == self._migration:
            return Part(ok=True, at=at)
        return Part(ok=False, detail=f"The database is at another migration than {self._migration}.", at=at)

    def _line(self) -> Part:
        return Part(ok=True) if self._connected() else Part(ok=False, detail="The doorbell is disconnected.")

    async def _listening(self, asked_at: float) -> Part:
        line = self._line()
        if not line.ok:
            return line
        try:
            async with asyncio.timeout(self._within_s):
                await self._bell.heard()
        except TimeoutError:
            return Part(ok=False, detail="The doorbell was rung and not heard.")
        return Part(ok=True, lag_s=round(asyncio.get_running_loop().time() - asked_at, 6))


def _rings(found: fitness.Fitness) -> bool:
    """Whether a doorbell can be rung at all: not while it takes no writes, nor after a look that failed."""
    return found.writable and found.migration is not None
