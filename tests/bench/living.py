"""Readers at work: each device is a real client with its own wrong clock, each reader reads on one at a time."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from urllib.parse import urlsplit

import orjson
import syncserver_client
from syncserver_client import Client, Rejected, State, SyncError
from syncserver_client.settings import TRANSPORTS

from tests.bench.account import Heard, Ledger, Write
from tests.bench.population import Book, Device, Reader, Session, Step, Walk
from tests.bench.tunnel import Tunnel

RESOURCE = "progress"
BACKOFF_MOST_S = 5.0  # of the clients: a run is short, and a device that is back should not wait for half of it
SOCKETLESS_SHARE = 0.3  # of the devices, where networks fail
SOCKETLESS = (("stream",), ("long-poll",), ("poll",))
PATIENCE_S = 3600.0  # an app without a network waits; what is unanswered at the end shows in the account


@dataclass(frozen=True, slots=True)
class Pace:
    """Time compression, and the end of all reading."""

    speed: float
    over: asyncio.Event

    async def sleep(self, trace_s: float) -> bool:
        """So much of the readers' time passes; False when the run is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(trace_s / self.speed):
                await self.over.wait()
        return not self.over.is_set()


class LiveDevice:
    """A device, its client and, if it travels, a network that can be cut."""

    def __init__(self, device: Device, ledger: Ledger, url: str, token: str, *, cuttable: bool = False) -> None:
        self.device = device
        self.away = self.wrote_away = False
        self.pages: dict[str, float] = {}  # how far each book is, as far as this device knows
        self.last = 0
        self.unplanned = 0
        self.counting = True
        self._ledger = ledger
        self._heard = ledger.heard.setdefault(device.id, [])
        self._transports = transports(Random(f"{device.id}:transports")) if cuttable else TRANSPORTS
        self._url, self._token, self._cuttable = url, token, cuttable or device.travels
        self._tunnel: Tunnel | None = None
        self._client: Client | None = None
        self._live_since: float | None = None
        self._cut = False
        self._moved = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing: set[asyncio.Task[None]] = set()

    @property
    def client(self) -> Client:
        """Once open."""
        if self._client is None:
            raise RuntimeError("not open")
        return self._client

    async def open(self) -> None:
        """Connect, follow everything, and wait until the first `ready`."""
        url = self._url
        if self._cuttable:
            parts = urlsplit(url)
            self._tunnel = Tunnel(parts.hostname or "127.0.0.1", parts.port or 80)
            await self._tunnel.open()
            url = self._tunnel.url
        self._client = syncserver_client.connect(
            url,
            self._token,
            device=self.device.id,
            timeout_s=PATIENCE_S,
            backoff_most_s=BACKOFF_MOST_S,
            retry_socket_s=BACKOFF_MOST_S,
            optimistic=False,  # what it shows is what the server said, and nothing else
            transports=self._transports,
            now=lambda: datetime.now(UTC) + self.device.clock_error,
        )
        self._client.open()
        self._spawn(self._follow(self._client), self._tasks)
        self._spawn(self._watch(self._client), self._tasks)
        await self._client.ready()

    async def close(self) -> None:
        """Whatever state it is in, it ends."""
        if self._client is not None:
            await self._client.close()
        await asyncio.gather(*self._tasks, *self._writing, return_exceptions=True)
        if self._tunnel is not None:
            await self._tunnel.close()

    # -- its network ------------------------------------------------------------------------------------------------

    def toggle(self) -> None:
        """Lose the network, or find it again."""
        if self.away:
            self.return_()
        elif self._tunnel is not None:
            self.away = self._cut = True
            self.wrote_away = False
            self._live_since = None
            self._tunnel.cut()

    def return_(self) -> None:
        """Have a network, if it had none."""
        if self._tunnel is not None and self.away:
            self.away = False
            self._tunnel.mend()
            self.client.network_changed()

    @property
    def network(self) -> Tunnel:
        """What can be cut and held, once open."""
        if self._tunnel is None:
            raise RuntimeError("its network cannot fail")
        return self._tunnel

    def outage(self) -> None:
        """Nobody has a network; this device did not move."""
        if self._tunnel is not None:
            self._cut = True
            self._live_since = None
            self._tunnel.cut()

    def outage_over(self) -> None:
        """There is a network again, unless the device is away; nothing tells it."""
        if self._tunnel is not None and not self.away:
            self._tunnel.mend()

    def flap(self) -> None:
        """Lose the socket when the server next says something, and that with it; have a network again at once."""
        if self._tunnel is not None and not self.away:
            self._tunnel.trip(self._flapped)

    def _flapped(self) -> None:
        if not self.away:
            self.toggle()
            self.return_()

    # -- what it hears ----------------------------------------------------------------------------------------------

    async def _follow(self, client: Client) -> None:
        async with client.subscribe() as changes:
            async for change in changes:
                self._heard.append(Heard(change, _monotonic(), self._live_since))
                self.last = max(self.last, change.offset)
                if change.device_id != self.device.id and change.value is not None:
                    self.pages[change.key] = change.value["percentage"]
                self._moved.set()

    async def _watch(self, client: Client) -> None:
        """Since when it is live; a socket that ends without having been cut is counted."""
        async for state in client.states():
            if state is State.LIVE:
                self._live_since, self._cut = _monotonic(), False
            else:
                self.unplanned += self.counting and self._live_since is not None and not self._cut
                self._live_since = None

    async def settled(self) -> None:
        """Wait until each write was answered."""
        while self._writing:
            await asyncio.wait(self._writing)

    async def reached(self, offset: int) -> None:
        """Wait until the device heard of this offset."""
        while self.last < offset:
            self._moved.clear()
            await self._moved.wait()

    # -- what it writes ---------------------------------------------------------------------------------------------

    def write(self, step: Step, *, doubled: bool) -> None:
        """Write, without waiting for the answer, as an app does between two pages."""
        self.pages[step.key] = step.fields["percentage"]
        self.wrote_away = self.away
        timed = self._live_since is not None
        write = Write(self.device.id, step.key, _monotonic(), datetime.now(UTC), timed)
        self._ledger.writes.append(write)
        self._spawn(self._written(write, step, doubled=doubled), self._writing)

    async def _written(self, write: Write, step: Step, *, doubled: bool) -> None:
        live_since = self._live_since
        call = self.client.put if step.op == "put" else self.client.patch
        answer = asyncio.ensure_future(call(RESOURCE, step.key, step.fields))
        await asyncio.sleep(0)  # the call has begun: the write is in the client's outbox now
        entry = next(reversed(self.client._outbox._entries.values()))
        try:
            ack = await answer
        except Rejected as refusal:
            ack = syncserver_client.Ack(entry.mutation.mutation_id, "rejected", code=refusal.code, detail=str(refusal))
        write.timed = write.timed and self._live_since == live_since
        write.sent = orjson.loads(entry.body)  # what went over the wire: the base and the corrected stamp too
        write.ack = ack
        if doubled and ack.status != "rejected":
            write.doubled = True
            (write.again,) = await self.client.push([entry.mutation])

    def _spawn(self, work: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(_until_closed(work))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def transports(rng: Random) -> tuple[str, ...]:
    """What a client may use: mostly everything, else one of the ways that need no socket."""
    return rng.choice(SOCKETLESS) if rng.random() < SOCKETLESS_SHARE else TRANSPORTS


async def _until_closed(work: Coroutine[None, None, None]) -> None:
    with suppress(SyncError):  # the client ended; what it left undone shows in the account
        await work


class LiveReader:
    """One reader with all devices."""

    def __init__(self, reader: Reader, url: str, token: str, *, cuttable: bool = False) -> None:
        self.reader = reader
        self.token = token
        self.ledger = Ledger(reader.name)
        self.devices = {
            device.id: LiveDevice(device, self.ledger, url, token, cuttable=cuttable) for device in reader.devices
        }
        self._walk = Walk(reader)

    async def open(self) -> None:
        """All devices come up."""
        for device in self.devices.values():
            await device.open()

    async def read(self, pace: Pace) -> None:
        """Sitting after sitting, until the run is over; networks come and go in between."""
        while await pace.sleep(self._walk.pause_s()):
            away = {name: device.wrote_away for name, device in self.devices.items() if device.away}
            for name in self._walk.toggled(away):
                self.devices[name].toggle()
            away_now = [name for name, device in self.devices.items() if device.away]
            await self._sit(self._walk.session(away_now), pace)

    async def _sit(self, session: Session, pace: Pace) -> None:
        device = self.devices[session.device.id]
        book = session.book
        page = _page(book, device.pages.get(book.key, 0.0))
        anew = page == book.pages
        for _ in range(session.pages):
            page = 1 if anew else self._walk.turn(book, page)
            if not await pace.sleep(self._walk.dwell_s()):
                return
            known = book.key in device.pages  # what it put before, answered or not: writes arrive in order
            device.write(self._walk.step(session, page, known=known, anew=anew), doubled=self._walk.doubled())
            if self._walk.flaps():
                device.flap()
            if page == book.pages:
                return
            anew = False

    async def quiet(self) -> None:
        """Every device is back, has its answers, and holds everything up to the reader's last offset."""
        for device in self.devices.values():
            device.return_()
        for device in self.devices.values():
            await device.settled()
        for device in self.devices.values():
            await device.reached(self.ledger.last)

    def hold(self) -> None:
        """Note what every device holds now, and stop counting lost sockets."""
        for name, device in self.devices.items():
            device.counting = False
            rows = device.client.rows
            self.ledger.held[name] = {key: row for (resource, key), row in rows.items() if resource == RESOURCE}

    async def close(self) -> None:
        """All devices go."""
        await asyncio.gather(*(device.close() for device in self.devices.values()))


def _page(book: Book, percentage: float) -> int:
    return min(book.pages, max(1, round(percentage * book.pages)))


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
