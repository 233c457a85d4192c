"""The first transport: a WebSocket, which carries everything both ways."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from syncserver_client.errors import CLAIMED, SocketLost, Transient
from syncserver_client.model import State
from syncserver_client.session import Session, Step
from syncserver_client.settings import SOCKET
from syncserver_client.socket import LiveSocket
from syncserver_client.way import Parts
from syncserver_client.wire import JsonObject, encode


class BySocket:
    """See Way."""

    name = SOCKET
    state = State.LIVE

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._socket: LiveSocket | None = None
        self._live = False
        self._check: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, and say hello."""
        self._socket = await LiveSocket.open(self._parts.settings, self._parts.token, self._parts.clock)

    async def run(self) -> None:
        """From subscribe until the socket ends."""
        if self._socket is None:
            raise SocketLost("cut", "not open")
        session = Session(self._parts.mirror, self._parts.clock, self._parts.settings.resources)
        try:
            await self._socket.send(encode(session.subscribe()))
            while True:
                step = session.receive(await self._socket.receive())
                await self._follow(step, session, self._socket)
        except SocketLost as lost:
            if lost.too_large:
                self._parts.outbox.too_large()
            raise

    async def _follow(self, step: Step, session: Session, socket: LiveSocket) -> None:
        """Do what a frame asks for."""
        self._parts.take(step)
        if step.error is not None:
            self._parts.problems.report(step.error[0], "the server reported an error")
            socket.note(": ".join(step.error), step.retry_after_s)
            if not session.caught_up:
                raise await socket.end(step.error[0])
        if step.goodbye is not None:
            socket.note(None, step.retry_after_s)
            raise socket.lost(step.goodbye)
        if step.resubscribe and step.refetch != CLAIMED:  # then the server says why it ends this
            await socket.send(encode(session.subscribe()))
        if step.token_expiring:
            await self._renew_token(socket)
        if step.ready and not self._live:
            self._live = True
            self._parts.up(self.state, socket)

    async def _renew_token(self, socket: LiveSocket) -> None:
        if not self._parts.token.renewable:
            return
        # A failure is left to the close with 4001 that follows: the next connect asks again, and reports.
        with suppress(Transient, TimeoutError):
            async with asyncio.timeout(self._parts.settings.hello_timeout_s):
                auth: JsonObject = {"type": "auth", "token": await self._parts.token.fresh()}
            await socket.send(encode(auth))

    def network_changed(self) -> bool:
        """A socket may outlive a change of networks: ask it, and keep it if it answers."""
        if not self._live or self._socket is None:
            return False
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._socket.check())
        return True

    async def close(self) -> None:
        """See Way."""
        if self._check is not None:
            self._check.cancel()
        if self._socket is not None:
            await self._socket.close()
