"""The client's one loop: hold a socket; when two in a row cannot be had, poll, and look for a socket meanwhile.

Every round ends with an error that says why, and the next one begins after a pause. Changes come out the same way
whichever transport brought them, from the same cursor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from syncserver_client.clock import Clock
from syncserver_client.errors import Fatal, Rejected, SocketLost, Transient
from syncserver_client.mirror import Mirror
from syncserver_client.model import Ack, Change, State
from syncserver_client.outbox import Outbox
from syncserver_client.poll import Poller
from syncserver_client.problems import Problems
from syncserver_client.search import Search
from syncserver_client.session import Session, Step
from syncserver_client.settings import Settings
from syncserver_client.socket import INVALID, LiveSocket
from syncserver_client.states import States
from syncserver_client.token import TokenSource
from syncserver_client.wire import JsonObject, encode

PATIENCE = 2  # sockets that fail in a row before polling begins


class Link:
    """Run `run` as a task; Fatal ends it. `socket` is the live one, None unless caught up."""

    def __init__(
        self,
        *,
        settings: Settings,
        token: TokenSource,
        clock: Clock,
        mirror: Mirror,
        outbox: Outbox,
        states: States,
        poller: Poller,
        problems: Problems,
        publish: Callable[[Sequence[Change]], None],
        answered: Callable[[Iterable[Ack]], None],
    ) -> None:
        self._settings = settings
        self._token = token
        self._clock = clock
        self._mirror = mirror
        self._outbox = outbox
        self._states = states
        self._poller = poller
        self._problems = problems
        self._publish = publish
        self._answered = answered
        self._backoff = settings.backoff()
        self._failures = 0
        self._wake = asyncio.Event()
        self._hurry = False
        self.socket: LiveSocket | None = None

    def network_changed(self) -> None:
        """Whatever is being waited for, try now."""
        self._hurry = True
        self._wake.set()

    async def run(self) -> None:
        """Keep in touch, for ever."""
        found: LiveSocket | None = None
        while True:
            try:
                await self._live(found or await self._open())
            except Transient as lost:
                found = await self._after(lost)

    async def _open(self) -> LiveSocket:
        return await LiveSocket.open(self._settings, self._token, self._clock)

    async def _after(self, lost: Transient) -> LiveSocket | None:
        """Wait for another try, or poll until a socket is found."""
        self._hurry = False
        self._wake.clear()
        self._failures += 1
        self._problems.report(lost.code, "the live connection failed")
        if self._failures >= PATIENCE:
            return await self._poll(lost)
        self._states.become(State.CONNECTING)
        await self._pause(self._backoff.next_s(lost.retry_after_s))
        return None

    async def _live(self, socket: LiveSocket) -> None:
        """From subscribe until the socket ends, which is always an error."""
        session = Session(self._mirror, self._clock, self._settings.resources)
        try:
            await socket.send(encode(session.subscribe()))
            while True:
                step = session.receive(await socket.receive())
                await self._follow(step, session, socket)
        except SocketLost as lost:
            if lost.too_large:
                self._outbox.too_large()
            raise
        finally:
            self.socket = None
            self._outbox.cut()
            await socket.close()

    async def _follow(self, step: Step, session: Session, socket: LiveSocket) -> None:
        """Do what a frame asks for."""
        self._publish(step.changes)
        self._answered(step.acks)
        if step.error is not None:
            self._problems.report(step.error[0], "the server reported an error")
            socket.note(": ".join(step.error), step.retry_after_s)
            if not session.caught_up:
                raise await socket.end(step.error[0])
        if step.goodbye is not None:
            socket.note(None, step.retry_after_s)
            raise socket.lost(step.goodbye)
        if step.resubscribe:
            await socket.send(encode(session.subscribe()))
        if step.token_expiring:
            await self._renew_token(socket)
        if step.ready and self.socket is None:
            self._caught_up(socket)

    def _caught_up(self, socket: LiveSocket) -> None:
        self._failures = -1  # the coming end of this one is not a socket that could not be had
        self._backoff.reset()
        self._problems.recovered()
        self.socket = socket
        self._states.become(State.LIVE)
        self._outbox.cut()

    async def _renew_token(self, socket: LiveSocket) -> None:
        if not self._token.renewable:
            return
        # A failure is left to the close with 4001 that follows: the next connect asks again, and reports.
        with suppress(Transient, TimeoutError):
            async with asyncio.timeout(self._settings.hello_timeout_s):
                auth: JsonObject = {"type": "auth", "token": await self._token.fresh()}
            await socket.send(encode(auth))

    async def _poll(self, lost: Transient) -> LiveSocket | None:
        """Poll until a socket is had (then it), or until polling fails too (then None, after a pause)."""
        search = Search(self._settings, self._open, self._wake.set)
        search.later(lost)
        try:
            while True:
                self._publish(await self._poller.catch_up())
                self._polled()
                found = await self._interlude(search)
                if found is not None:
                    return found
        except (Transient, Rejected) as failure:
            if failure.code == INVALID:
                raise Fatal(failure.code, failure.detail) from failure
            self._problems.report(f"poll_{failure.code}", "polling failed too")
            self._states.become(State.OFFLINE)
            wish_s = failure.retry_after_s if isinstance(failure, Transient) else None
            await self._pause(self._backoff.next_s(wish_s))
            return None
        finally:
            await search.stop()

    def _polled(self) -> None:
        if self._states.current is not State.POLLING:
            self._problems.recovered()
            self._outbox.cut()
        self._backoff.reset()
        self._states.become(State.POLLING)
        self._outbox.stirred.set()

    async def _interlude(self, search: Search) -> LiveSocket | None:
        """Wait until the next poll; a socket, if one was found meanwhile."""
        end = _monotonic() + self._settings.poll_interval_s
        while (left := end - _monotonic()) > 0:
            if self._hurry:
                self._hurry = False
                search.now()
            search.begin_if_due()
            await self._pause(min(left, search.due_in()))
            try:
                found = search.result()
            except Transient as lost:
                search.later(lost)
                continue
            if found is not None:
                return found
        return None

    async def _pause(self, seconds: float) -> None:
        """Wait; less if the network changed or a search ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
