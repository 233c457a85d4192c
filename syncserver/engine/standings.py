"""How owners stand, kept in memory: a known owner costs no statement, and all who wait are asked for in one.

What is kept is true until its doorbell rings, as long as doorbells are heard; and it is never old.
"""

import asyncio
from collections.abc import Collection, Mapping
from itertools import islice

from syncserver.core.errors import Unavailable
from syncserver.storage import revocations
from syncserver.storage.database import Database
from syncserver.storage.revocations import Standing

_AT_ONCE = 500


class Standings:
    """At most `kept` owners, each at most `fresh_s` old."""

    def __init__(self, database: Database, *, kept: int = 20_000, fresh_s: float = 60) -> None:
        self._database = database
        self._kept = kept
        self._fresh_s = fresh_s
        self._known: dict[str, tuple[float, Standing]] = {}
        self._asked: dict[str, asyncio.Future[Standing | None]] = {}
        self._reading: set[str] = set()
        self._reader: asyncio.Task[None] | None = None

    def known(self, owner: str) -> Standing | None:
        """How the owner stands, if that is known."""
        read_at, standing = self._known.get(owner, (float("-inf"), None))
        return standing if _now() - read_at < self._fresh_s else None

    async def of(self, owner: str) -> Standing:
        """How the owner stands; raises Unavailable where it is not known and the database is away."""
        known = self.known(owner)
        if known is not None:
            return known
        waiting = self._asked.setdefault(owner, asyncio.get_running_loop().create_future())
        if self._reader is None:
            self._reader = asyncio.create_task(self._read_all())
        found = await asyncio.shield(waiting)
        if found is None:
            raise Unavailable("The database does not answer, so nobody new can be let in; try again.")
        return found

    def drop(self, owner: str) -> None:
        """What is known of this owner, or is being read at this moment, may not be true any more."""
        self._known.pop(owner, None)
        self._reading.discard(owner)

    def drop_all(self) -> None:
        """The same of every owner."""
        self._known.clear()
        self._reading.clear()

    async def _read_all(self) -> None:
        try:
            while self._asked:
                await self._read_some()
        finally:
            self._reader = None

    async def _read_some(self) -> None:
        asked = {owner: self._asked.pop(owner) for owner in list(islice(self._asked, _AT_ONCE))}
        self._reading = set(asked)
        found: Mapping[str, Standing] = {}
        try:
            found = await self._read(asked)
            self._keep(found)
        finally:
            for owner, waiting in asked.items():
                waiting.set_result(found.get(owner))

    async def _read(self, owners: Collection[str]) -> Mapping[str, Standing]:
        """Of each owner, nothing where the database is away."""
        try:
            return await self._database.read([], revocations.standings(owners))
        except Unavailable:
            return {}

    def _keep(self, found: Mapping[str, Standing]) -> None:
        read_at = _now()
        for owner in self._reading & found.keys():
            self._known.pop(owner, None)  # the oldest stand first
            self._known[owner] = (read_at, found[owner])
        while len(self._known) > self._kept:
            del self._known[next(iter(self._known))]


def _now() -> float:
    return asyncio.get_running_loop().time()
