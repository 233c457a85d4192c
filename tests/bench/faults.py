"""A soak's troubles while the readers read: the schedule is carried out, and others write, come, sleep and go."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from syncserver.engine import tokens
from tests.bench.launched import Launched
from tests.bench.living import LiveDevice, LiveReader
from tests.bench.schedule import PATTERNS, Fault, Kind, schedule
from tests.bench.sql import LOST, Sql
from tests.bench.tunnel import Way
from tests.bench.visitors import HOARD_ROWS, Visitors
from tests.bench.watch import Watch

POOL, LISTENER = "syncserver", "syncserver listener"
MOST_ENDED = 10
WRITE_EVERY_S = 0.7
NEW_SHARE = 0.3
AT_DOOR, ASLEEP = 3, 2  # visitors and sleepers at any time
HOARDER = "hoarder"
TTL = timedelta(hours=12)


class Faults:
    """All troubles of one run; `struck` counts them. `restarts`: the server is restarted in the middle, too."""

    def __init__(self, server: Launched, sql: Sql, watch: Watch, seed: int, seconds: float, *, restarts: bool) -> None:
        self._server = server
        self._sql = sql
        self._watch = watch
        self._seed = seed
        self._seconds = seconds
        self._restarts = restarts
        self._rng = Random(f"{seed}:sql")
        self._blocked: Counter[LiveDevice] = Counter()
        self.visitors = Visitors(server.place.url, f"{seed}:visitors")
        self.struck: Counter[str] = Counter()

    async def prepare(self) -> None:
        """What the troubles need, before anything is measured."""
        await self._sql.prepare()
        await self._sql.hoard(f"user:{HOARDER}", HOARD_ROWS)

    @asynccontextmanager
    async def during(self, readers: Sequence[LiveReader]) -> AsyncIterator[None]:
        """Make trouble as long as this is open; then all is well again, and the ledgers hold what psql wrote."""
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(work) for work in self._works(list(readers))]
            try:
                yield
            finally:
                for task in running:
                    task.cancel()
        for device in _devices(readers):
            _healed(device)
        await self._sql.answers()
        record = await self._sql.record()
        for one in readers:
            one.ledger.placed = record.get(f"user:{one.reader.name}", {})

    def _works(self, readers: list[LiveReader]) -> list[Coroutine[Any, Any, None]]:
        token = tokens.mint(self._server.place.secret, HOARDER, datetime.now(UTC), TTL)
        devices = _devices(readers)
        works = [self._strike(fault, devices) for fault in schedule(self._seed, self._seconds)]
        works += [self.visitors.visit(readers) for _ in range(AT_DOOR)]
        works += [self.visitors.sleep(token) for _ in range(ASLEEP)]
        works.append(self._write(readers))
        if self._restarts:
            works.append(self._restart())
        return works

    async def _strike(self, fault: Fault, devices: list[LiveDevice]) -> None:
        await asyncio.sleep(fault.at_s)
        self.struck[fault.kind] += 1
        match fault.kind:
            case Kind.KILL:
                self._kill()
            case Kind.LISTENER:
                await self._end(LISTENER, MOST_ENDED)
            case Kind.POOL:
                await self._end(POOL, Random(fault.seed).randint(1, MOST_ENDED))
            case Kind.OUTAGE:
                await _outage(devices, fault.lasts_s)
            case Kind.STALL:
                await self._block(fault, devices, "device", "server")
            case Kind.DEAF:
                await self._block(fault, devices, "server")

    def _kill(self) -> None:
        path = self._server.folder / "postgresql" / "data" / "postmaster.pid"
        with suppress(OSError, ProcessLookupError):  # it may be down already
            os.kill(int(path.read_text().splitlines()[0]), signal.SIGKILL)

    async def _end(self, application: str, most: int) -> None:
        with suppress(*LOST):
            await self._sql.end(application, most)

    async def _block(self, fault: Fault, devices: list[LiveDevice], *ways: Way) -> None:
        count = max(1, round(PATTERNS[fault.kind].share * len(devices)))
        chosen = [device for device in Random(fault.seed).sample(devices, count) if not self._blocked[device]]
        for device in chosen:
            self._blocked[device] += 1
            device.network.hold(*ways)
        await asyncio.sleep(fault.lasts_s)
        for device in chosen:
            device.network.flow()
            self._blocked[device] -= 1

    async def _write(self, readers: Sequence[LiveReader]) -> None:
        while True:
            await asyncio.sleep(self._rng.expovariate(1 / WRITE_EVERY_S))
            reader = self._rng.choice(readers).reader
            new = self._rng.random() < NEW_SHARE
            key = "from-psql" if new else self._rng.choice(reader.books).key
            with suppress(*LOST):
                await self._sql.write(f"user:{reader.name}", key, round(self._rng.random(), 4), new=new)
                self.struck["writes by SQL"] += 1

    async def _restart(self) -> None:
        await asyncio.sleep(self._seconds / 2)
        await self._server.restart()
        self._watch.restarted()
        self.struck["restarts"] += 1


def _devices(readers: Sequence[LiveReader]) -> list[LiveDevice]:
    return [device for one in readers for device in one.devices.values()]


async def _outage(devices: Sequence[LiveDevice], lasts_s: float) -> None:
    for device in devices:
        device.outage()
    await asyncio.sleep(lasts_s)
    for device in devices:
        device.outage_over()


def _healed(device: LiveDevice) -> None:
    device.network.flow()
    device.outage_over()
