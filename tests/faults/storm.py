"""One run of the wire oracle: devices in a storm, calamities, then quiet, convergence, and the account.

Quiet begins when the proxy is healed, server and database stand, and every write is answered; from then on each
device must hold what the database holds, within a bounded time and without changing its transport.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import LiteralString
from uuid import uuid4

import psycopg

from tests.faults import history
from tests.faults.audit import audit, differences
from tests.faults.devices import Device, Owner
from tests.faults.ills import Ills
from tests.faults.launched import Postgres, Server
from tests.faults.proxy import Proxy

_ANSWERED_S = 30.0
_AT_ONCE = 8
_WRITE_EVERY_S = 0.4
_WRITES = 4
_LONGEST = 3
_DIRECT: Mapping[str, LiteralString] = {
    "insert": "INSERT INTO reading_progress (owner, publication_id, position)"
    " VALUES (%(owner)s, %(marker)s, %(marker)s)",
    "update": "UPDATE reading_progress SET position = %(marker)s WHERE owner = %(owner)s AND publication_id = %(key)s",
    "delete": "DELETE FROM reading_progress WHERE owner = %(owner)s AND publication_id = %(key)s",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is made of. `calamities`: which, one after the other; drawn from the seed where None.

    `patience_s`: how long a run that has not converged in time is watched on, to see whether it ever does.
    """

    seed: int
    clients: int = 50
    storm_s: float = 3.0
    within_s: float = 2.0
    patience_s: float = 5.0
    transports: Sequence[str] = ("socket", "stream", "long-poll", "poll")
    calamities: Sequence[str] | None = None
    mutant: str | None = None


@dataclass
class Report:
    """What became of a run."""

    seed: int
    writes: int = 0
    deliveries: int = 0
    retries: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    calamities: list[str] = field(default_factory=list)
    converged_s: float = 0.0
    answered_s: float = 0.0
    transports: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    stories: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The run in a line."""
        ills = sum(self.struck.values())
        return (
            f"seed {self.seed}: {self.writes} writes, {self.retries} sent again, {self.deliveries} deliveries, "
            f"{ills} ills, killed {', '.join(self.calamities) or 'nothing'}; "
            f"answered in {self.answered_s * 1000:.0f} ms, converged in {self.converged_s * 1000:.0f} ms"
            + (f"; WRONG: {len(self.wrong)}" if self.wrong else "")
        )


class Storm:
    """One run over a server and a database that other runs may use after it; its owners are its own."""

    def __init__(self, plan: Plan, postgres: Postgres, server: Server) -> None:
        self._plan = plan
        self._postgres = postgres
        self._server = server
        self._dice = random.Random(f"{plan.seed} storm")
        count = max(2, plan.clients // 10)
        self._owners = [Owner(f"{uuid4().hex[:8]}-{number}") for number in range(count)]
        self._devices: list[Device] = []
        self._over = asyncio.Event()
        self._enough = asyncio.Event()
        self._answers = 0
        self.report = Report(plan.seed)

    async def run(self) -> Report:
        """The whole run."""
        proxy = Proxy(self._server.port, Ills(self._plan.seed))
        async with proxy.running():
            self._devices = [self._device(number, proxy.port) for number in range(self._plan.clients)]
            reading = [asyncio.create_task(device.read()) for device in self._devices]
            try:
                await self._storm(proxy)
                await self._converge()
            finally:
                for task in reading:
                    task.cancel()
                ended = await asyncio.gather(*reading, return_exceptions=True)
            self.report.wrong += [repr(end) for end in ended if isinstance(end, Exception)]
        self.report.struck = proxy.struck
        await asyncio.to_thread(self._account)
        return self.report

    def _device(self, number: int, port: int) -> Device:
        owner = self._owners[number % len(self._owners)]
        device = Device(owner, number, port, f"{self._plan.seed} {number}", self._plan.transports)
        device.outbox.progress = self._answered
        return device

    # -- the storm -----------------------------------------------------------

    async def _storm(self, proxy: Proxy) -> None:
        over_s = self._plan.storm_s
        writing = [asyncio.create_task(device.write(_WRITE_EVERY_S)) for device in self._devices]
        directly = asyncio.create_task(self._write_directly())
        await asyncio.gather(self._calamities(), asyncio.sleep(over_s))
        await self._written(over_s * (_LONGEST - 1))
        self._over.set()
        await directly
        proxy.heal()
        for device in self._devices:
            device.settle()
        await self._postgres.answers()
        begun = time.monotonic()
        _, late = await asyncio.wait(writing, timeout=_ANSWERED_S)
        self.report.answered_s = time.monotonic() - begun
        self.report.wrong += [f"{len(late)} devices have writes that are not answered"] if late else []
        for task in writing:
            task.cancel()
        for end in await asyncio.gather(*writing, return_exceptions=True):
            if isinstance(end, Exception):
                self.report.wrong.append(repr(end))

    async def _written(self, patience_s: float) -> None:
        """On a slow machine the storm is longer, so that there is something in it: so many answers for each device."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._enough.wait()

    def _answered(self) -> None:
        self._answers += 1
        if self._answers >= _WRITES * len(self._devices):
            self._enough.set()

    async def _calamities(self) -> None:
        kinds = self._plan.calamities
        if kinds is None:
            kinds = self._dice.choices(["server", "database"], [2, 1], k=self._dice.randint(1, 3))
        times = sorted(self._dice.uniform(0.1, 0.85) * self._plan.storm_s for _ in kinds)
        begun = time.monotonic()
        for at_s, kind in zip(times, kinds, strict=True):
            await asyncio.sleep(max(0.0, begun + at_s - time.monotonic()))
            self.report.calamities.append(kind)
            if kind == "database":
                self._postgres.kill()
            else:
                await self._server.kill()
                await asyncio.sleep(self._dice.uniform(0, 0.2))
                await self._server.start(mutant=self._plan.mutant)

    async def _write_directly(self) -> None:
        """Somebody at psql, who connects again after each calamity."""
        while not self._over.is_set():
            try:
                async with await psycopg.AsyncConnection.connect(self._postgres.urls.owner, autocommit=True) as sql:
                    while not self._over.is_set():
                        await self._direct(sql, self._dice.choice(self._owners))
                        await asyncio.sleep(self._dice.uniform(0.05, 0.2))
            except psycopg.OperationalError:
                await asyncio.sleep(0.05)

    async def _direct(self, sql: psycopg.AsyncConnection, owner: Owner) -> None:
        marker, key = f"sql-{uuid4()}", f"all-{self._dice.randrange(4)}"
        owner.account.sql[marker] = False
        where = {"owner": owner.name, "key": key, "marker": marker}
        kind = self._dice.choice(["insert", "update", "update", "delete"])
        done = await sql.execute(_DIRECT[kind], where)
        owner.account.sql[marker] = kind != "delete" and done.rowcount == 1

    # -- quiet ---------------------------------------------------------------

    async def _converge(self) -> None:
        begun = time.monotonic()
        truth = await asyncio.to_thread(self._live)
        late = asyncio.timeout(self._plan.within_s + self._plan.patience_s)
        try:
            async with late:
                await asyncio.gather(*(self._holds(device, truth[device.owner.name]) for device in self._devices))
        except TimeoutError:
            pass
        self.report.converged_s = time.monotonic() - begun
        if self.report.converged_s <= self._plan.within_s:
            await self._verify()
            return
        self.report.wrong.append(f"not converged within {self._plan.within_s} s")
        for device in self._devices:
            if device.replica.live() != truth[device.owner.name]:
                self._tell(device, differences(device.replica.live(), truth[device.owner.name]))

    async def _verify(self) -> None:
        few = asyncio.Semaphore(_AT_ONCE)

        async def verify(device: Device) -> None:
            async with few:
                await device.verify()

        await asyncio.gather(*(verify(device) for device in self._devices if not device.wrong))

    async def _holds(self, device: Device, truth: dict[str, tuple[object, ...]]) -> None:
        while device.replica.live() != truth and not device.wrong:
            device.replica.moved.clear()
            await device.replica.moved.wait()

    def _live(self) -> dict[str, dict[str, tuple[object, ...]]]:
        with psycopg.connect(self._postgres.urls.owner) as sql:
            return {owner.name: history.live(sql, owner.name) for owner in self._owners}

    def _tell(self, device: Device, differs: Sequence[str]) -> None:
        told = [f"-- {device.name} of {device.owner.name}, by {device.by}", *differs[:5], *device.replica.story]
        self.report.stories.append("\n   ".join(told))

    # -- the account ---------------------------------------------------------

    def _account(self) -> None:
        report = self.report
        for device in self._devices:
            device.owner.account.sent |= {(device.name, m): sent for m, sent in device.outbox.sent.items()}
            report.wrong += device.wrong
            if device.wrong:
                self._tell(device, device.wrong)
            report.deliveries += device.replica.deliveries
            report.transports |= device.used
        with psycopg.connect(self._postgres.urls.owner) as sql:
            for owner in self._owners:
                report.wrong += audit(owner.account, history.read(sql, owner.name))
                report.writes += len(owner.account.sent)
                report.retries += sum(sent.tries > 1 for sent in owner.account.sent.values())
