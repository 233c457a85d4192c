"""Whether this client holds what the server holds: asked after a long absence, and when the app wants to know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from syncserver_client.digest import digests
from syncserver_client.errors import Offline, SocketLost, Transient
from syncserver_client.http import Http, RefetchNeeded
from syncserver_client.mirror import Mirror
from syncserver_client.session import Step
from syncserver_client.settings import Settings
from syncserver_client.socket import LiveSocket
from syncserver_client.wire import JsonObject, encode

TRIES = 4
SAME, MOVED, OTHER, LOST = "same", "moved", "other", "lost"


class Verifier:
    """`take` every step of every transport. `refetch`: fetch all again, where the server's answer came by HTTP."""

    def __init__(
        self,
        settings: Settings,
        mirror: Mirror,
        http: Http,
        up: Callable[[], bool],
        socket: Callable[[], LiveSocket | None],
        refetch: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._mirror = mirror
        self._http = http
        self._up = up
        self._socket = socket
        self._refetch = refetch
        self._synced_at: datetime | None = mirror.synced_at
        self._moved = asyncio.Event()
        self._answer: asyncio.Future[str] | None = None
        self._asking = asyncio.Lock()

    def take(self, step: Step) -> bool:
        """Hear what comes; whether this device was away for so long that it should ask."""
        if step.refetch is not None:
            self._answered(OTHER if step.refetch == "digest" else LOST)
        if step.verified is not None:
            self._answered(step.verified)
        if step.changes or step.ready:
            self._moved.set()
        if not step.ready:
            return False
        before, self._synced_at = self._synced_at, self._mirror.synced_at
        if before is None or self._synced_at is None or self._asking.locked():
            return False
        return self._synced_at - before > timedelta(seconds=self._settings.verify_after_s)

    def lost(self) -> None:
        """The socket that was asked is gone."""
        self._answered(LOST)

    def _answered(self, outcome: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(outcome)

    async def verify(self) -> bool:
        """Compare; False: there was a difference, and all is fetched again. Offline if nobody could say in time."""
        try:
            async with self._asking, asyncio.timeout(self._settings.timeout_s):
                return await self._compared()
        except TimeoutError as error:
            raise Offline("the comparison had no answer") from error

    async def _compared(self) -> bool:
        backoff = self._settings.backoff()
        moved = 0
        while moved < TRIES:
            self._moved.clear()
            if not self._up() or not self._mirror.complete:
                await self._moved.wait()
                continue
            try:
                outcome = await self._ask()
            except Transient as failure:
                await asyncio.sleep(backoff.next_s(failure.retry_after_s))
                continue
            if outcome in (SAME, OTHER):
                return outcome == SAME
            if outcome == MOVED:
                moved += 1
                await self._moved.wait()
        raise Offline("rows change faster than they can be compared")

    async def _ask(self) -> str:
        held = digests(self._mirror.rows.values(), self._settings.resources)
        question: JsonObject = {"cursor": self._mirror.cursor, "digests": held}
        socket = self._socket()
        return await (self._over_http(question) if socket is None else self._over_socket(socket, question))

    async def _over_socket(self, socket: LiveSocket, question: JsonObject) -> str:
        self._answer = asyncio.get_running_loop().create_future()
        try:
            await socket.send(encode({"type": "verify", **question}))
        except SocketLost:
            return LOST
        return await self._answer

    async def _over_http(self, question: JsonObject) -> str:
        try:
            answer = await self._http.ask("POST", "/verify", {}, question)
        except RefetchNeeded:
            self._refetch()
            return OTHER
        return str(answer.get("outcome"))
