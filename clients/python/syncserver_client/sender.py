"""What empties the outbox: over the socket when it is live, otherwise by POST; again until it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import orjson

from syncserver_client.clock import Clock
from syncserver_client.errors import Rejected, SocketLost, Transient
from syncserver_client.http import Http
from syncserver_client.mutation import Ack
from syncserver_client.outbox import Entry, Outbox
from syncserver_client.pace import Pace
from syncserver_client.problems import Problems
from syncserver_client.settings import Settings
from syncserver_client.socket import Limits, LiveSocket
from syncserver_client.wire import JsonObject, encode, format_stamp


class Sender:
    """Run `run` as a task. `answered` hears of every ack.

    `may_send`: whether this device has caught up; `live`: the socket by which it did, if any.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        outbox: Outbox,
        http: Http,
        problems: Problems,
        may_send: Callable[[], bool],
        live: Callable[[], LiveSocket | None],
        answered: Callable[[Iterable[Ack]], None],
        pace: Pace | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._outbox = outbox
        self._http = http
        self._problems = problems
        self._may_send = may_send
        self._live = live
        self._answered = answered
        self._limits = Limits()
        self._pace = pace or Pace()

    async def run(self) -> None:
        """Send what is due, for ever; Fatal ends it."""
        while True:
            self._outbox.stirred.clear()
            socket = self._live()
            # Caught up first: what waited meets rows that this device has seen, in the order in which it was written.
            # Before the first contact stamps cannot be corrected either.
            ready = self._may_send() and self._clock.known
            batch = self._due(socket) if ready else []
            if not batch:
                await self._rest(waiting=ready)
            elif socket is not None and (pause_s := self._pace.wait_s(_monotonic())):
                await asyncio.sleep(pause_s)  # the next frame takes along what is written meanwhile
            elif socket is not None:
                await self._over_socket(socket, batch)
            else:
                await self._over_http(batch)

    def _due(self, socket: LiveSocket | None) -> list[Entry]:
        if socket is not None:
            self._limits = socket.limits
        return self._outbox.batch(_monotonic(), self._limits)

    async def _rest(self, *, waiting: bool) -> None:
        due = self._outbox.next_due() if waiting else None
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - _monotonic())):
                await self._outbox.stirred.wait()
        except TimeoutError:
            return

    async def _over_socket(self, socket: LiveSocket, batch: Sequence[Entry]) -> None:
        self._pace.sent(_monotonic())
        self._outbox.sent(batch, _monotonic() + self._settings.ack_timeout_s)
        try:
            await socket.send(_frame({"type": "push"}, batch))
        except SocketLost:
            # The reader of the socket meets the same end and reports it; here only the writes matter.
            self._outbox.postpone(batch, _monotonic())

    async def _over_http(self, batch: Sequence[Entry]) -> None:
        about = {
            "device": self._settings.device_frame,
            "client_id": self._settings.client_id,
            "sent_at": format_stamp(self._clock.raw()),
        }
        try:
            acks = await self._http.push(_frame(about, batch))
        except Rejected as refusal:
            self._outbox.refused(batch, refusal.code, refusal.detail)
        except Transient as failure:
            self._problems.report(f"push_{failure.code}", "a push failed and will be sent again")
            self._outbox.postpone(batch, _monotonic(), failure.retry_after_s)
        else:
            # Postponed first: what the server left unanswered must not be sent again in a tight loop.
            self._outbox.postpone(batch, _monotonic())
            self._answered(acks)


def _frame(about: JsonObject, batch: Sequence[Entry]) -> bytes:
    return encode({**about, "mutations": [orjson.Fragment(entry.body) for entry in batch]})


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
