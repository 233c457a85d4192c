"""Forgetting in time, a little at a time: tombstones, the ledger, temporary names, conflicts, imports, revocations.

Every process does it; what two of them do at once is done once and found done. Each owner's tombstones go in one
transaction, in which the floor rises, so a reader whose cursor is older is told to fetch everything again.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from syncserver.core.errors import Unavailable
from syncserver.storage import expiry, revocations
from syncserver.storage.database import Contention, Database
from syncserver.storage.expiry import Kept

log = logging.getLogger(__name__)
_AT_ONCE = 1000


class Expiry:
    """`run` forgets after `first_s`, then every `every_s`, until cancelled. The rest is how long each kind is kept."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime],
        *,
        tombstones: timedelta = timedelta(days=90),
        ledger: timedelta = timedelta(days=30),
        conflicts: timedelta = timedelta(days=90),
        first_s: float = 0,
        every_s: float = 3600,
    ) -> None:
        self._database = database
        self._now = now
        self._tombstones = tombstones
        self._kept: dict[Kept, timedelta] = {
            "mutations": ledger,
            "temporary_keys": ledger,
            "imports": ledger,
            "conflicts": conflicts,
        }
        self._first_s = first_s
        self._every_s = every_s

    async def run(self) -> None:
        """Forget what is due, again and again. What cannot be done now is done next time."""
        await asyncio.sleep(self._first_s)
        while True:
            try:
                await self.forget()
            except (Unavailable, Contention):
                log.warning("nothing was forgotten; trying again later")
            await asyncio.sleep(self._every_s)

    async def forget(self) -> None:
        """Forget all that is due; raises Unavailable or Contention, with what was forgotten until then forgotten."""
        now = self._now()
        await self._forget_tombstones(now - self._tombstones)
        for table, age in self._kept.items():
            await self._forget_rows(table, now - age)
        await self._lapse()

    async def _forget_tombstones(self, before: datetime) -> None:
        gone = True
        while gone and (owners := await self._due(before)):
            gone = False
            for owner in owners:
                async with self._database.transaction([owner]) as connection:
                    gone = await expiry.tombstones(connection, owner, before) > 0 or gone

    async def _due(self, before: datetime) -> list[str]:
        async with self._database.transaction([]) as connection:
            return await expiry.owners_due(connection, before, _AT_ONCE)

    async def _forget_rows(self, table: Kept, before: datetime) -> None:
        gone = _AT_ONCE
        while gone == _AT_ONCE:
            async with self._database.transaction([]) as connection:
                gone = await expiry.forget(connection, table, before, _AT_ONCE)

    async def _lapse(self) -> None:
        gone = _AT_ONCE
        while gone == _AT_ONCE:
            async with self._database.transaction([]) as connection:
                gone = await revocations.lapse(connection, _AT_ONCE)
