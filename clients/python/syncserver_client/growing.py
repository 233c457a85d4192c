"""A text that grows, as an answer does while it is typed: its row is patched so many times a second, and at the end.

Each patch holds the whole text so far and is fleeting: of those that wait for a slow network only the latest is sent.
While one has no answer the next gathers what comes, for `GATHER_S` at most, so that a device that is away keeps one a
second and not all of them.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from syncserver_client.core import Core
from syncserver_client.debounce import Debounce
from syncserver_client.errors import Closed, SyncError
from syncserver_client.model import RowId
from syncserver_client.mutation import Ack, Mutation

GATHER_S = 1.0


class Growing:
    """Made by `Client.growing`, used with `async with`; leaving queues the last of it, and does not wait for that."""

    def __init__(self, core: Core, row_id: RowId, field: str, *, per_s: float) -> None:
        if not per_s >= 1 / GATHER_S:
            raise ValueError(f"per_s is at least {1 / GATHER_S:.0f}")
        self._core = core
        self._row_id = row_id
        self._field = field
        self._debounce = Debounce(1 / per_s, GATHER_S)
        self._timer: asyncio.TimerHandle | None = None
        self._listening: set[str] = set()
        self._open = False
        self.text = ""
        """All of it so far."""
        self.ack: Ack | None = None
        """The latest answer to a patch; `refused`: the server would not have the text (`code`, `detail`)."""

    async def __aenter__(self) -> Growing:
        """Begin after what the row has in its field, as this client shows it. Raises what stopped the client."""
        self._core.check()
        row = self._core.mirror.shown.get(self._row_id)
        found = (row.value or {}).get(self._field) if row is not None else None
        self.text = found if isinstance(found, str) else ""
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Queue what is unsaid, durably if there is a store. Raises what stopped the client, if that prevents it."""
        self._open = False
        self._rest()
        try:
            self._queue()
        except SyncError:
            if error is None:
                raise
        finally:
            self._core.outbox.unheard(self._listening)

    def add(self, chunk: str) -> None:
        """The text goes on with this. Returns at once, whatever the network does. TypeError; Closed after leaving."""
        if not self._open:
            raise Closed
        self.text += chunk
        if chunk and not self._debounce.stirred:  # the pace counts from the first change that is unsaid
            self._debounce.changed(asyncio.get_running_loop().time())
            self._arrange()

    def _queue(self) -> None:
        if not self._debounce.stirred:
            return
        mutation = Mutation("patch", *self._row_id, {self._field: self.text}, fleeting=True)
        self._core.queue([mutation], awaited=False)
        self._debounce.saved()
        answer = self._core.outbox.listen(mutation.mutation_id)
        if answer is not None:
            self._listening.add(mutation.mutation_id)
            answer.add_done_callback(self._answered)

    def _answered(self, answer: asyncio.Future[Ack]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return  # the client has stopped: the next call says so
        self.ack = answer.result()
        self._listening.discard(self.ack.mutation_id)
        self._arrange()

    def _arrange(self) -> None:
        """See that the next patch is queued when it is due."""
        self._rest()
        due = self._debounce.due(waiting=bool(self._listening))
        if due is not None and self._open:
            self._timer = asyncio.get_running_loop().call_at(due, self._ring)

    def _ring(self) -> None:
        try:
            self._queue()
        except SyncError:
            self._rest()  # the client has stopped over it, and says so to everybody

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
