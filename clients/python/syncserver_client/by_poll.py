"""The last transports: asking again and again, each question waiting at the server for news, or not."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from syncserver_client.errors import Fatal, Rejected, Transient
from syncserver_client.http import RefetchNeeded
from syncserver_client.model import State
from syncserver_client.poll import Poller
from syncserver_client.session import Step
from syncserver_client.settings import LONG_POLL, POLL
from syncserver_client.socket import INVALID
from syncserver_client.way import Parts

PROBE_S = 1


class ByPoll:
    """See Way. Asks every `poll_interval_s`."""

    name = POLL
    state = State.POLLING

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._poller = Poller(parts.http, parts.mirror, parts.clock, parts.keep)

    async def open(self) -> None:
        """The first question is as good as any."""

    async def run(self) -> None:
        """Ask, rest, and ask again."""
        while True:
            await self._catch_up()
            self._parts.up(self.state, None)
            await asyncio.sleep(self._parts.settings.poll_interval_s)

    async def _catch_up(self, wait_s: int = 0) -> None:
        try:
            changes = await self._poller.catch_up(wait_s)
        except Rejected as refusal:
            if refusal.code == INVALID and not wait_s:  # a mistake in what this client was told to follow
                raise Fatal(refusal.code, refusal.detail) from refusal
            raise Transient("refused", refusal.detail) from refusal
        self._parts.take(Step(changes=changes, ready=True))

    def network_changed(self) -> bool:
        """A question may be under way on the network that is gone; a new one costs little."""
        return False

    async def close(self) -> None:
        """Nothing is held."""


class ByLongPoll(ByPoll):
    """See Way. A question waits at the server until there are news, `long_poll_s` at most."""

    name = LONG_POLL
    state = State.LONG_POLLING

    async def open(self) -> None:
        """See that the server lets questions wait, and that what lies between does."""
        with suppress(RefetchNeeded):
            try:
                await self._parts.http.changes(self._parts.mirror.cursor, PROBE_S)
            except Rejected as refusal:
                raise Transient("refused", refusal.detail) from refusal

    async def run(self) -> None:
        """Catch up as a poll does, then wait at the server, question after question."""
        await self._catch_up()
        while True:
            self._parts.up(self.state, None)
            asked, cursor = _monotonic(), self._parts.mirror.cursor
            await self._catch_up(self._parts.settings.long_poll_s)
            waited = _monotonic() - asked >= self._parts.settings.long_poll_s / 2
            if cursor == self._parts.mirror.cursor and not waited:
                await asyncio.sleep(
                    self._parts.settings.poll_interval_s
                )  # whoever says "nothing" at once is not asked at once


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
