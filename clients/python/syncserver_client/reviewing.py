"""The client's face for what went wrong between devices: conflicts and what was lost in them, and comparisons."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import quote

from syncserver_client.conflict import Conflict, ConflictNote, ConflictPage
from syncserver_client.core import Core
from syncserver_client.errors import Offline, Rejected, Transient
from syncserver_client.http import RefetchNeeded
from syncserver_client.ids import uuid7
from syncserver_client.model import Row
from syncserver_client.watch import Watch
from syncserver_client.wire import JsonObject

T = TypeVar("T")


class Reviewing:
    """Part of `Client`."""

    _core: Core

    def conflicts(self) -> Watch[ConflictNote]:
        """An async iterator of notes that a version of this device lost, as it happens (socket and stream only)."""
        return self._core.conflicts.watch()

    async def list_conflicts(
        self, resource: str | None = None, key: str | None = None, *, limit: int = 100, after: str | None = None
    ) -> ConflictPage:
        """Conflicts, newest first, of one row or resource if named; `after`: the page before's `next`. As `get`."""
        asked = {"resource": resource, "key": key, "limit": str(limit), "after": after}
        params = {name: value for name, value in asked.items() if value is not None}
        page = await self._tried(lambda: self._core.http.ask("GET", "/conflicts", params))
        return ConflictPage([Conflict.from_wire(item) for item in page.get("items", ())], page.get("next"))

    async def get_conflict(self, conflict_id: str) -> Conflict:
        """One conflict, with both versions. As `get`; Rejected("not_found") if there is none."""
        path = f"/conflicts/{quote(conflict_id, safe='')}"
        return Conflict.from_wire(await self._tried(lambda: self._core.http.ask("GET", path, {})))

    async def restore(self, conflict_id: str) -> Row | None:
        """Bring the losing version back, as a new write of this device: the row as it is then. As `get`.

        None: the version was a removal, and the row is gone.
        """
        settings = self._core.settings
        body: JsonObject = {
            "mutation_id": uuid7(),  # the same however often it is tried, so it is done once
            "device_id": settings.device,
            "device_name": settings.device_name,
        }
        path = f"/conflicts/{quote(conflict_id, safe='')}/restore"
        row = await self._tried(lambda: self._core.http.ask("POST", path, {}, body))
        if not row:
            return None
        found = await self.get_conflict(conflict_id)
        return Row.from_rest(found.resource, found.key, row)

    async def verify(self) -> bool:
        """Compare all that is held with the server: True if it is the same.

        False: there was a difference, which the client is mending by fetching everything again. Offline if the
        comparison had no answer within `timeout_s`.
        """
        self._core.check()
        return await self._core.verifier.verify()

    async def _tried(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer; Offline after `timeout_s`."""
        backoff = self._core.settings.backoff()
        try:
            async with asyncio.timeout(self._core.settings.timeout_s):
                while True:
                    self._core.check()
                    try:
                        return await ask()
                    except Transient as failure:
                        await asyncio.sleep(backoff.next_s(failure.retry_after_s))
                    except RefetchNeeded as gone:
                        raise Rejected("gone") from gone
        except TimeoutError as error:
            raise Offline("the question had no answer") from error
