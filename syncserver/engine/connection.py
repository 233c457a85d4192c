"""One connection from hello to close: the protocol says what a message means, this waits, reads and writes.

Two tasks: one receives and answers; the other delivers what is due, and reads the log for a subscription that
is behind. Only the second writes to the wire.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

from syncserver.core import encode, frames
from syncserver.core.actor import Actor, Device
from syncserver.core.cursor import Cursor
from syncserver.core.errors import HelloTimeout, Invalid, Refetch, SlowReader, SyncError, Unavailable
from syncserver.core.protocol import Protocol
from syncserver.engine.decide import Sender
from syncserver.engine.house import House
from syncserver.hub.subscription import Standing, Subscription
from syncserver.hub.writer import Writer

_RETRY_READ_S = 0.5


@dataclass(frozen=True, slots=True)
class Wire:
    """A socket, whatever carries it: `receive` gives None when the other side is gone."""

    receive: Callable[[], Awaitable[str | bytes | None]]
    send: Callable[[bytes], Awaitable[None]]
    close: Callable[[int, str], Awaitable[None]]


class Gone(Exception):
    """The other side has left."""


class Connection:
    """One device's socket. `run` returns when it is closed, by whichever side."""

    def __init__(self, house: House, wire: Wire) -> None:
        self._house = house
        self._wire = wire
        self._protocol = Protocol()
        self._writer = Writer()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._subscription: Subscription | None = None
        self._epoch = ""
        self._ending: tuple[int, str] | None = None
        self._sender: Sender | None = None

    async def run(self) -> None:
        """Serve this connection to its end."""
        try:
            await self._greet()
            await self._first_of(self._receive(), self._deliver())
        except Gone:
            pass
        except SyncError as error:
            await self._refuse(error)
        finally:
            self._protocol.closed()
            self._unsubscribe()
            if self._sender is not None:
                self._house.left(self._name, self.goodbye)

    def goodbye(self, code: int, reason: str, retry_after_s: float | None = None) -> None:
        """Close after what is due was written; with a retry time, the client is told when to come back."""
        if retry_after_s is not None:
            self._writer.offer(encode.frame(frames.Goodbye(code=code, retry_after_s=retry_after_s)))
        self._ending = (code, reason)
        self._wake.set()

    # -- hello ---------------------------------------------------------------

    async def _greet(self) -> None:
        hello = await self._hello()
        actor = self._house.verify(hello.token)
        epoch = await self._house.epoch()
        device = Device(hello.device.id, hello.device.name)
        self._sender = Sender(actor.owner, device, hello.client_id)
        self._protocol.opened()
        self._house.entered(self._name, self.goodbye)
        await self._write(encode.frame(self._welcome(actor, hello, epoch)))

    async def _hello(self) -> frames.Hello:
        try:
            async with asyncio.timeout(self._house.hello_timeout_s):
                frame = self._protocol.receive(await self._message())
        except TimeoutError:
            raise HelloTimeout(f"No hello came within {self._house.hello_timeout_s} s.") from None
        if not isinstance(frame, frames.Hello):  # the protocol lets nothing else through
            raise TypeError(type(frame))
        return frame

    def _welcome(self, actor: Actor, hello: frames.Hello, epoch: str) -> frames.Welcome:
        return frames.Welcome(
            connection=str(uuid4()),
            server_time=self._house.now(),
            echo=hello.sent_at,
            heartbeat_s=self._house.heartbeat_s,
            token_expires_at=actor.expires_at,
            epoch=epoch,
        )

    # -- what comes ----------------------------------------------------------

    async def _message(self) -> str | bytes:
        message = await self._wire.receive()
        if message is None:
            raise Gone
        return message

    async def _receive(self) -> None:
        while True:
            await self._answer(self._protocol.receive(await self._message()))

    async def _answer(self, frame: frames.ClientFrame) -> None:
        match frame:
            case frames.Push():
                await self._push(frame)
            case frames.Subscribe():
                await self._subscribe(frame)
            case frames.Unsubscribe():
                self._unsubscribe()
            case frames.Ping():
                pong = frames.Pong(sent_at=frame.sent_at, server_time=self._house.now())
                await self._offer(encode.frame(pong))
            case frames.Hello():
                pass  # the protocol lets no second one through

    async def _push(self, frame: frames.Push) -> None:
        await self._offer(encode.acks(await self._house.push.push(self._who, frame.mutations)))

    async def _subscribe(self, frame: frames.Subscribe) -> None:
        """A new subscription takes the place of the one before."""
        self._unsubscribe()
        try:
            wanted = self._house.pull.known(frame.resources)
            cursor = Cursor.parse(frame.cursor) if frame.cursor is not None else None
            page = await self._house.pull.page(self._who.owner, cursor, wanted, limit=1)
        except Refetch as error:
            await self._offer(encode.frame(frames.RefetchFrame(reason=error.reason)))
            return
        except (Invalid, Unavailable) as error:
            retry_s = Unavailable.retry_after_s if error.retry else None
            await self._offer(
                encode.frame(frames.ErrorFrame(code=error.code, detail=error.detail, retry_after_s=retry_s))
            )
            return
        self._epoch = page.epoch
        self._subscription = Subscription(self._who.owner, wanted, page.since, self._writer.offer, self._wake.set)
        self._house.hub.attach(self._subscription)
        self._wake.set()

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._house.hub.detach(self._subscription)
            self._subscription.end()
            self._subscription = None

    # -- what goes -----------------------------------------------------------

    async def _offer(self, frame: bytes) -> None:
        """Put an answer in the queue; a client that does not read its answers is not read from either."""
        while not self._writer.offer(frame):
            self._room.clear()
            await self._room.wait()
        self._wake.set()

    async def _deliver(self) -> None:
        heartbeat = asyncio.get_running_loop().time() + self._house.heartbeat_s
        while True:
            await self._flush()
            if self._ending is not None:
                await self._close(*self._ending)
                raise Gone
            if await self._catch_up():
                continue
            if asyncio.get_running_loop().time() >= heartbeat:
                heartbeat += self._house.heartbeat_s
                self._still_ready()
                continue
            await self._woken(heartbeat)

    async def _woken(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _flush(self) -> None:
        while (frame := self._writer.take()) is not None:
            self._room.set()
            await self._write(frame)

    async def _catch_up(self) -> bool:
        """Read a page of the log for a subscription that is not live; False when there is nothing to do."""
        subscription = self._subscription
        if subscription is None or subscription.standing is Standing.LIVE:
            return False
        if subscription.standing is Standing.ENDED:
            await self._told_to_refetch(subscription)
            return True
        try:
            await self._read_on(subscription)
        except Refetch as error:
            subscription.end(error.reason)
        except Unavailable:
            await asyncio.sleep(_RETRY_READ_S)
        return True

    async def _read_on(self, subscription: Subscription) -> None:
        cursor = Cursor.at(self._epoch, subscription.owner, subscription.offset)
        async with self._house.reading:
            page = await self._house.pull.page(subscription.owner, cursor, subscription.wanted)
        if subscription is not self._subscription or subscription.standing is not Standing.CATCHING_UP:
            return
        subscription.offset = page.until
        live = not page.more and self._house.hub.go_live(subscription)
        now = self._house.now()
        if page.until > page.since:
            await self._write(encode.changes(page, page.changes))
        if live:
            cursor = Cursor.at(page.epoch, page.owner, page.until)
            await self._write(encode.ready(str(cursor), now))

    async def _told_to_refetch(self, subscription: Subscription) -> None:
        self._unsubscribe()
        await self._write(encode.frame(frames.RefetchFrame(reason=subscription.refetch or "ended")))

    def _still_ready(self) -> None:
        """Say again how far this device holds everything, as of when the database was last seen to agree."""
        subscription = self._subscription
        if subscription is None or subscription.standing is not Standing.LIVE:
            return
        verified = self._house.verified(subscription.owner)
        if verified is not None:
            cursor = Cursor.at(self._epoch, subscription.owner, subscription.offset)
            self._writer.offer(encode.ready(str(cursor), verified))

    # -- the wire ------------------------------------------------------------

    @property
    def _who(self) -> Sender:
        if self._sender is None:
            raise RuntimeError("before hello")
        return self._sender

    @property
    def _name(self) -> tuple[str, str]:
        return self._who.owner, self._who.client_id

    async def _write(self, frame: bytes) -> None:
        try:
            async with asyncio.timeout(self._house.slow_reader_s):
                await self._wire.send(frame)
        except TimeoutError:
            raise SlowReader(f"Nothing was read for {self._house.slow_reader_s} s.") from None
        except OSError:
            raise Gone from None

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(1):
                await self._wire.close(code, reason)
        except (Gone, OSError, TimeoutError):
            pass  # it is gone already

    async def _refuse(self, error: SyncError) -> None:
        """Say what was wrong, then close with the code that tells whether to come back."""
        try:
            async with asyncio.timeout(1):
                await self._wire.send(encode.frame(frames.ErrorFrame(code=error.code, detail=error.detail)))
        except (Gone, OSError, TimeoutError):
            pass  # it is gone already
        await self._close(error.close, error.title)

    async def _first_of(self, *works: Awaitable[None]) -> None:
        """Run these until one ends, end the others, and raise what the first raised."""
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
