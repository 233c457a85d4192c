"""All parts of one client, wired: what comes goes to the mirror, the store and the app; what stops one stops all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from syncserver_client.clock import Clock
from syncserver_client.company import Broadcast, Presence, presence_frame
from syncserver_client.conflict import ConflictNote
from syncserver_client.errors import Closed, Fatal, Offline, SocketLost, SyncError
from syncserver_client.http import Http
from syncserver_client.link import Link
from syncserver_client.memory import Memory
from syncserver_client.model import Change
from syncserver_client.mutation import Ack, Mutation
from syncserver_client.outbox import Entry, Outbox
from syncserver_client.problems import Problems, log
from syncserver_client.sender import Sender
from syncserver_client.session import Step
from syncserver_client.settings import Settings
from syncserver_client.states import States
from syncserver_client.subscription import Fanout
from syncserver_client.token import Token, TokenSource
from syncserver_client.verifier import Verifier
from syncserver_client.watch import Watches
from syncserver_client.way import Parts
from syncserver_client.wire import JsonObject

CLOSE_S = 1.2


class Core:
    """Runs between `open` and `close`. Fields without an underscore are for the client's own faces to the app."""

    def __init__(self, settings: Settings, token: Token) -> None:
        self.memory = Memory(settings)
        self.settings = settings = replace(settings, client_id=self.memory.client_id)
        self.clock = Clock(settings.now)
        self.clock.last = self.memory.last_stamp
        self.mirror = self.memory.mirror
        self.states = States()
        self.fanout = Fanout()
        self.acks: Watches[Ack] = Watches(self.memory.most_acks)
        self.presences: Watches[list[Presence]] = Watches()
        self.broadcasts: Watches[Broadcast] = Watches()
        self.conflicts: Watches[ConflictNote] = Watches()
        self.here: list[Presence] = []
        self.savers: dict[str, Callable[[], None]] = {}  # by reading session: queues what is unsaved of it
        self.drift_s: float | None = None
        self.outbox = Outbox(self.clock, settings.backoff(), self.memory.queue, self._settled)
        self.mirror.lost = self.outbox.rebase
        source = TokenSource(token)
        problems = Problems()
        self.http = Http(settings, source, self.clock)
        parts = Parts(
            settings=settings,
            token=source,
            clock=self.clock,
            http=self.http,
            mirror=self.mirror,
            outbox=self.outbox,
            problems=problems,
            take=self._take,
            keep=self.memory.commit,
            up=lambda _state, _socket: None,
        )
        self.link = Link(parts, self.states, self._socket_changed)
        self._sender = Sender(
            settings=settings,
            clock=self.clock,
            outbox=self.outbox,
            http=self.http,
            problems=problems,
            may_send=lambda: self.link.up,
            live=lambda: self.link.socket,
            answered=self._answered,
        )
        self.verifier = Verifier(
            settings, self.mirror, self.http, lambda: self.link.up, lambda: self.link.socket, self.link.refetch
        )
        self._announcement: bytes | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._errands: set[asyncio.Task[None]] = set()

    # -- life ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start both tasks."""
        self.check()
        if not self._tasks:
            for work in (self.link.run(), self._sender.run()):
                task = asyncio.create_task(work)
                task.add_done_callback(self._ended)
                self._tasks.append(task)

    async def close(self) -> None:
        """Stop within two seconds, whatever the server does."""
        self.stop(Closed())
        tasks = {*self._tasks, *self._errands}
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                # Bounded, because a token callable of the app may not let itself be cancelled.
                await asyncio.wait(tasks, timeout=CLOSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S / 2):
                    await self.http.close()
        finally:
            self.memory.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task runs until it is cancelled or something is final; then nothing may go on without it."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, SyncError):
            log.error("the client stopped over a fault of its own", exc_info=error)
            error = Fatal("internal", type(error).__name__)
        elif self.states.error is None:
            log.error("the client stopped (%s)", error.code)
        self.stop(error)

    def stop(self, error: SyncError) -> None:
        """Nothing goes on; everyone who waits hears why."""
        self.states.end(error)
        self.outbox.fail(error)
        told = None if isinstance(error, Closed) else error
        self.fanout.end(told)
        for watches in (self.acks, self.presences, self.broadcasts, self.conflicts):
            watches.end(told)
        for task in self._tasks:
            task.cancel()

    def check(self) -> None:
        """Raise what stopped the client, if something did."""
        if self.states.error is not None:
            raise self.states.error

    def _errand(self, work: Callable[[], Awaitable[object]]) -> None:
        """Something small beside the two tasks, that may fail."""

        async def run() -> None:
            with suppress(SyncError):
                await work()

        task = asyncio.create_task(run())
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    # -- writes -------------------------------------------------------------------------------------------------

    def queue(self, mutations: Sequence[Mutation], *, awaited: bool) -> list[Entry]:
        """Take up writes, all or none; they are durable now, if there is a store, and shown."""
        self.check()
        based = [(mutation, self.memory.base(mutation)) for mutation in mutations]
        entries = self.outbox.add_all(based, awaited=awaited)
        self._durably(self.memory.commit)
        now = self.clock.now()
        fresh = [entry.mutation for entry in entries if entry.known is None]
        self.fanout.publish(change for mutation in fresh for change in self.memory.write(mutation, now))
        return entries

    def let_go(self, entries: Iterable[Entry]) -> None:
        """Nobody waits for these any more; what is not kept for later is forgotten."""
        now = self.clock.now()
        for entry in self.outbox.let_go(entries):
            self.fanout.publish(self.memory.forget(entry.mutation, now))

    def heard(self, mutation_id: str) -> None:
        """The app has taken an ack."""
        self._durably(lambda: self.memory.heard(mutation_id))

    def _durably(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Fatal as error:
            self.stop(error)
            raise

    def _answered(self, acks: Iterable[Ack]) -> None:
        self.outbox.answer(acks, asyncio.get_running_loop().time())

    def _settled(self, settled: Sequence[tuple[Entry, Ack]]) -> None:
        """What the acks teach is kept with them, then told."""
        now = self.clock.now()
        news: list[Change] = []
        for entry, ack in settled:
            news += self.memory.answered(entry.mutation, ack, now, unheard=entry.answer is None)
        self.memory.commit()
        self.fanout.publish(news)
        for _, ack in settled:
            self.acks.offer(ack)

    # -- what comes ---------------------------------------------------------------------------------------------

    def _take(self, step: Step) -> None:
        self.memory.commit()
        self.fanout.publish(step.changes)
        if step.acks:
            self._answered(step.acks)
        if step.presence is not None:
            self._gather([Presence.from_wire(frame) for frame in step.presence])
        if step.broadcast is not None:
            self.broadcasts.offer(Broadcast.from_wire(step.broadcast))
        if step.conflict is not None:
            self.conflicts.offer(ConflictNote.from_wire(step.conflict))
        if self.verifier.take(step):
            self._errand(self.verifier.verify)

    def _gather(self, here: list[Presence]) -> None:
        if here != self.here:
            self.here = here
            self.presences.offer(list(here))

    def _socket_changed(self) -> None:
        """Another socket, or none: who is here is told anew, and so is where this device stands."""
        self.verifier.lost()
        socket = self.link.socket
        if socket is None:
            self._gather([])
            return
        if socket.drift_s is not None and self.drift_s is None:
            log.warning("this device's clock is far from the server's; stamps are corrected")
        self.drift_s = socket.drift_s
        if self._announcement is not None:
            self._errand(partial(socket.send, self._announcement))

    async def announce(self, state: JsonObject | None) -> None:
        """Say it now, if there is a socket, and on each that comes."""
        self.check()
        self._announcement = presence_frame(state)
        if self.link.socket is not None:
            with suppress(SocketLost):  # the next socket says it
                await self.link.socket.send(self._announcement)

    async def send(self, frame: bytes) -> None:
        """Over the socket, now; Offline if there is none."""
        self.check()
        if self.link.socket is None:
            raise Offline("there is no socket")
        try:
            await self.link.socket.send(frame)
        except SocketLost as lost:
            raise Offline("the socket was lost") from lost
