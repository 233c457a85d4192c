"""A soak: the population reads for long under faults while the server is watched; the verdict is whether it grew.

Everything happens to one server process, so that what it still holds when all have gone is what it has leaked.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx

from syncserver.engine import tokens
from syncserver.storage.embedded import EmbeddedPostgres
from tests.bench.faults import Faults
from tests.bench.launched import Launched, running
from tests.bench.living import LiveReader
from tests.bench.sql import Sql
from tests.bench.verdict import Figures, Sample, figures_table, judge
from tests.bench.watch import REST_SAMPLES, Watch
from tests.bench.watched import PING_S

GONE_S = 60.0  # a device that vanished is noticed within 30 s, one that takes nothing too
FIRST_FEW = 10
CROWD, ROUNDS = 80, 5  # requests that take every connection to the database


@dataclass(slots=True)
class Verdict:
    """What the watch found; `wrong`: what visitors saw amiss; `summary`: what happened to the server."""

    figures: list[Figures]
    wrong: list[str]
    summary: str

    @property
    def good(self) -> bool:
        """Whether nothing grew and nothing was amiss."""
        return not (self.wrong or any(one.wrong for one in self.figures))

    def lines(self) -> list[str]:
        """To be shown."""
        return [self.summary, *figures_table(self.figures), *(f"  {sentence}" for sentence in self.wrong[:FIRST_FEW])]


class Soak:
    """One server under watch. `faults` is the simulation's trouble; `verdict` when the simulation has ended."""

    def __init__(self, server: Launched, seed: int, seconds: float, *, restarts: bool = False) -> None:
        self.place = server.place
        self._sql = Sql(EmbeddedPostgres(server.folder).owner_url)
        self._watch = Watch(server, self._sql)
        self._faults = Faults(server, self._sql, self._watch, seed, seconds, restarts=restarts)
        self._start: Sequence[Sample] = []

    @property
    def struck(self) -> Counter[str]:
        """How often each trouble came."""
        return self._faults.struck

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """The watch is on; at its begin the server is at rest, its pool full."""
        await self._faults.prepare()
        await _crowd(self.place.url, self.place.secret)
        watching = asyncio.create_task(self._watch.run())
        try:
            self._start = await self._watch.look(REST_SAMPLES)
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await self._sql.close()

    @asynccontextmanager
    async def during(self, readers: Sequence[LiveReader]) -> AsyncIterator[None]:
        """The readers read now, and there is trouble."""
        self._watch.begun_s = time.monotonic()
        async with self._faults.during(readers):
            yield
        self._watch.ended_s = time.monotonic()

    async def verdict(self) -> Verdict:
        """When everybody has left: what is left, and what grew."""
        await self._watch.settled(self._start, GONE_S)
        visitors = self._faults.visitors
        counts = {
            **self._faults.struck,
            "short visits": visitors.visits,
            "sleepers": visitors.sleeps,
            "of them cut off": visitors.cut_off,
        }
        summary = "\n".join(["  What happened to it:", *(f"  {number:7} {name}" for name, number in counts.items())])
        return Verdict(judge(self._watch.parted(self._start)), visitors.wrong, summary)


@asynccontextmanager
async def soaked(
    seed: int, seconds: float, *, restarts: bool = False, noticed_s: float | None = None
) -> AsyncIterator[Soak]:
    """A server of its own under watch. `noticed_s`: after so long it notices who vanished, if not as it ships."""
    quick = {PING_S: str(noticed_s / 2.5), "SYNCSERVER_SLOW_READER_S": str(noticed_s)} if noticed_s else {}
    async with running(watched=True, **quick) as server:
        soak = Soak(server, seed, seconds, restarts=restarts)
        async with soak.watched():
            yield soak


async def _crowd(url: str, secret: bytes) -> None:
    """Many requests at once: afterwards the server holds as many connections to the database as it ever will."""
    token = tokens.mint(secret, "nobody", datetime.now(UTC), timedelta(minutes=5))
    headers = {"Authorization": f"Bearer {token}"}
    limits = httpx.Limits(max_connections=CROWD)
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=30) as http:
        for _ in range(ROUNDS):
            await asyncio.gather(
                *(http.get(f"/api/v1/{what}") for what in ("changes", "progress") for _ in range(CROWD // 2))
            )
