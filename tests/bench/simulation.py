"""One run: open every device, read, wait for quiet, take the account."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Protocol

import httpx
from syncserver_client import Row

from syncserver.engine import tokens
from tests.bench.account import Ledger, Report, audit
from tests.bench.launched import Place
from tests.bench.living import RESOURCE, LiveReader, Pace
from tests.bench.observer import Observer
from tests.bench.population import population

QUIET_S, QUIET_AFTER_TROUBLE_S = 60.0, 180.0
OBSERVED = 5  # one reader in so many has an observer on the wire
AT_ONCE = 16  # readers that open, or are asked for, together
TTL = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate."""

    readers: int
    seconds: float
    seed: int
    speed: float


class Trouble(Protocol):
    """What makes trouble while the readers read."""

    def during(self, readers: Sequence[LiveReader]) -> AbstractAsyncContextManager[None]:
        """Open as long as they read."""


@dataclass(slots=True)
class Outcome:
    """The account, and what belongs beside it."""

    report: Report
    devices: int = 0
    observed: int = 0
    wire_rows: int = 0
    unplanned: int = 0
    seconds: float = 0.0
    own_cpu_s: float = 0.0
    late: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether the run may be called a success."""
        return self.report.good and not self.late


class Simulation:
    """A population on one server, with some `trouble` or none. `over` ends the reading early."""

    def __init__(self, plan: Plan, place: Place, trouble: Trouble | None = None) -> None:
        now = datetime.now(UTC)
        self.over = asyncio.Event()
        self._plan = plan
        self._place = place
        self._trouble = trouble
        harsh = trouble is not None
        self.readers = [
            LiveReader(reader, place.url, tokens.mint(place.secret, reader.name, now, TTL), cuttable=harsh)
            for reader in population(plan.readers, plan.seed, now, f"-{token_hex(4)}")
        ]
        self._observers = {
            one.reader.name: Observer(place.url, one.reader.name, one.token, forgiving=harsh)
            for one in self.readers[::OBSERVED]
        }

    @property
    def ledgers(self) -> Sequence[Ledger]:
        """Everything known so far."""
        return [one.ledger for one in self.readers]

    async def run(self, phase: Callable[[str], None] = lambda _: None) -> Outcome:
        """The whole run; `phase` hears what goes on now."""
        phase("connecting")
        async with self._opened():
            phase("reading")
            begun, cpu = time.monotonic(), time.process_time()
            async with self._trouble.during(self.readers) if self._trouble else nullcontext():
                await self._read()
            seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
            phase("waiting for quiet")
            late = await self._quiet()
            for one in self.readers:
                one.hold()
            await self._ask_server()
        phase("taking the account")
        return self._outcome(seconds, cpu, late)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        try:
            for observer in self._observers.values():
                observer.open()
            await _gathered([one.open for one in self.readers])
            yield
        finally:
            await asyncio.gather(*(observer.close() for observer in self._observers.values()))
            await asyncio.gather(*(one.close() for one in self.readers))

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        alarm = loop.call_later(self._plan.seconds, self.over.set)
        pace = Pace(self._plan.speed, self.over)
        try:
            async with asyncio.TaskGroup() as tasks:
                for one in self.readers:
                    tasks.create_task(one.read(pace))
        finally:
            alarm.cancel()

    async def _quiet(self) -> list[str]:
        """Wait until nothing is under way; in words the readers that did not come to rest in time."""
        waits = {one.reader.name: asyncio.create_task(self._at_rest(one)) for one in self.readers}
        within_s = QUIET_S if self._trouble is None else QUIET_AFTER_TROUBLE_S
        _, pending = await asyncio.wait(waits.values(), timeout=within_s)
        for task in pending:
            task.cancel()
        await asyncio.gather(*waits.values(), return_exceptions=True)
        late = [f"{name}: not at rest after {within_s:.0f} s" for name, task in waits.items() if task.cancelled()]
        ended = {name: task.exception() for name, task in waits.items() if not task.cancelled()}
        return late + [f"{name}: {error!r}" for name, error in ended.items() if error is not None]

    async def _at_rest(self, one: LiveReader) -> None:
        await one.quiet()
        observer = self._observers.get(one.reader.name)
        if observer is not None:
            await observer.reached(one.ledger.last)

    async def _ask_server(self) -> None:
        """What the server itself gives to somebody who holds nothing yet."""
        async with httpx.AsyncClient(base_url=self._place.url, timeout=QUIET_S) as http:

            async def ask(one: LiveReader) -> None:
                one.ledger.held["server"] = await _everything(http, one.token)

            await _gathered([lambda one=one: ask(one) for one in self.readers])  # type: ignore[misc]

    def _outcome(self, seconds: float, cpu_s: float, late: list[str]) -> Outcome:
        report = audit(self.ledgers)
        checks = [observer.check for observer in self._observers.values()]
        for check in checks:
            report.repeated += check.repeated
            report.out_of_order += check.out_of_order
            report.wrong += check.wrong
        devices = [device for one in self.readers for device in one.devices.values()]
        return Outcome(
            report,
            devices=len(devices),
            observed=len(checks),
            wire_rows=sum(check.rows for check in checks),
            unplanned=sum(device.unplanned for device in devices),
            seconds=seconds,
            own_cpu_s=cpu_s,
            late=late,
        )


async def _everything(http: httpx.AsyncClient, token: str) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    params: dict[str, str] = {}
    more = True
    while more:
        answer = await http.get("/api/v1/changes", params=params, headers={"Authorization": f"Bearer {token}"})
        answer.raise_for_status()
        if answer.status_code == httpx.codes.NO_CONTENT:
            break
        page = answer.json()
        found = [Row.from_wire(row) for row in page["rows"]]
        rows |= {row.key: row for row in found if row.resource == RESOURCE and row.op == "put"}
        params, more = {"cursor": page["cursor"]}, page["more"]
    return rows


async def _gathered(works: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """All of these, a few at a time."""
    waiting = list(reversed(works))

    async def work() -> None:
        while waiting:
            await waiting.pop()()

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
