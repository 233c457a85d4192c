"""Saving a row while it is edited: what changed, soon after it rests, in the background.

The app says what is so and reads on. What is worth saving becomes one patch after the other in the client's queue,
which sends each until it is answered, in this run of the program or, with a store, the next.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from syncserver_client.core import Core
from syncserver_client.debounce import Debounce
from syncserver_client.errors import Closed, Offline, SyncError
from syncserver_client.model import Row, RowId, State
from syncserver_client.mutation import Ack, Mutation
from syncserver_client.saves import Kind, Saves, SaveState, Saving
from syncserver_client.watch import Watch, Watches
from syncserver_client.wire import JsonObject

REMEMBERED = 64  # states kept for a watcher that does not read


class Saver:
    """What the savers of all kinds of rows do; its subclasses say what there is to change.

    Used with `async with`; leaving queues what is unsaved, and does not wait for it.
    """

    def __init__(self, core: Core, kind: Kind, key: str, *, quiet_s: float, most_s: float) -> None:
        self._core = core
        self._kind = kind
        self._row_id = RowId(kind.resource, key)
        self._debounce = Debounce(quiet_s, most_s)
        self._saves = Saves({}, self._debounce, kind=kind)
        self._watches: Watches[SaveState] = Watches(REMEMBERED)
        self._told = SaveState(Saving.SAVED)
        self._moved = asyncio.Event()
        self._most_s = most_s
        self._silent = False  # no answer for `most_s`
        self._timer: asyncio.TimerHandle | None = None
        self._doubt: asyncio.TimerHandle | None = None
        self._following: asyncio.Task[None] | None = None
        self._listening: set[str] = set()
        self._open = False

    async def __aenter__(self) -> Self:
        """Begin where this client stands: the row as it shows it, and the saves that an earlier run queued.

        Closed after the client, ValueError while another saver of this row is open.
        """
        self._core.check()
        if self._row_id.key in self._core.savers:
            raise ValueError("this row is being saved already")
        row = self.row
        waiting = [m for m in self._core.outbox.waiting if m.row_id == self._row_id and m.op == "patch"]
        pending = [(m.mutation_id, m.value or {}) for m in waiting if self._listen(m.mutation_id)]
        self._saves = Saves((row.value or {}) if row is not None else {}, self._debounce, pending, self._kind)
        self._hear()
        self._core.savers[self._row_id.key] = self.queue_unsaved
        self._open = True
        self._told = self.state
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Queue what is unsaved, durably if there is a store. Raises what stopped the client, if that prevents it."""
        self._open = False
        self._core.savers.pop(self._row_id.key, None)
        try:
            self._queue(self._saves.last())
        except SyncError:
            if error is None:
                raise
        finally:
            await self._leave()

    async def _leave(self) -> None:
        self._rest()
        if self._doubt is not None:
            self._doubt.cancel()
        self._tell()
        if self._core.states.error is None:
            self._watches.end()
        self._core.outbox.unheard(self._listening)
        self._listening.clear()
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})

    # -- the app's side -----------------------------------------------------------------------------------------

    def _change(self, fields: JsonObject) -> None:
        if not self._open:
            raise Closed
        self._saves.change(fields, self._now())
        self._arrange()
        self._tell()

    @property
    def row(self) -> Row | None:
        """The row as the client shows it: the server's, with what is queued on it."""
        return self._core.mirror.shown.get(self._row_id)

    @property
    def state(self) -> SaveState:
        """Where the last change is."""
        up = self._core.states.current not in (State.CONNECTING, State.OFFLINE)
        return self._saves.state(up=up and not self._silent)

    def states(self) -> Watch[SaveState]:
        """An async iterator of the present state and each that follows; ends with the saver, raises what ended it."""
        return self._watches.watch([self._told])

    async def flush(self) -> SaveState:
        """Queue what is unsaved and wait for the answers: `saved`, `conflict` or `refused`. Offline, Fatal, Closed.

        Offline after the client's `timeout_s`: what was queued stays so.
        """
        self._core.check()
        self._save()
        try:
            async with asyncio.timeout(self._core.settings.timeout_s):
                while not self._saves.answered_all:
                    self._moved.clear()
                    await self._moved.wait()
                    self._core.check()
        except TimeoutError as error:
            raise Offline("a save had no answer") from error
        return self.state

    def take_theirs(self) -> JsonObject:
        """After a conflict: go on from the row as it is now; its fields. What was not saved is given up.

        Also without one, for an app that has shown its reader another device's change and goes on from there.
        """
        fields = self._saves.take_theirs(self.row)
        self._arrange()
        self._tell()
        return fields

    def keep_mine(self) -> None:
        """After a conflict: save what lost, and what changed since, over the winner. Rejected if it ended."""
        self._saves.keep_mine(self._now())
        self._save()

    # -- the client's side --------------------------------------------------------------------------------------

    def queue_unsaved(self) -> None:
        """Do not wait any longer: something that comes after it is to be queued. As `Client.enqueue`."""
        if self._saves.unsaved:
            self._save()

    def _save(self) -> None:
        if self._saves.unsaved:
            self._queue(self._saves.take())
        self._arrange()
        self._tell()

    def _queue(self, patch: JsonObject | None) -> None:
        if patch is None:
            return
        mutation = Mutation("patch", *self._row_id, patch)
        self._core.queue([mutation], awaited=False)
        if self._saves.answered_all:
            self._hear()
        self._saves.queued(mutation.mutation_id, patch)
        self._listen(mutation.mutation_id)

    def _listen(self, mutation_id: str) -> bool:
        answer = self._core.outbox.listen(mutation_id)
        if answer is None:
            return False
        self._listening.add(mutation_id)
        answer.add_done_callback(self._answered)
        return True

    def _answered(self, answer: asyncio.Future[Ack]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            self._moved.set()  # the client has stopped, `_follow` hears of it too
            return
        ack = answer.result()
        self._listening.discard(ack.mutation_id)
        self._saves.answered(ack, self._now())
        self._hear()
        self._moved.set()
        self._arrange()
        self._tell()

    def _hear(self) -> None:
        """The server answers, for all that is known, until it has been silent for `most_s`."""
        self._silent = False
        if self._doubt is not None:
            self._doubt.cancel()
        self._doubt = asyncio.get_running_loop().call_later(self._most_s, self._fall_silent)

    def _fall_silent(self) -> None:
        self._silent = True
        self._tell()

    async def _follow(self) -> None:
        """With and without a network, until the client stops."""
        async for _ in self._core.states.watch():
            self._tell()
        self._rest()
        self._moved.set()
        error = self._core.states.error
        self._watches.end(None if isinstance(error, Closed) else error)

    def _arrange(self) -> None:
        """See that the next save comes when it is due."""
        self._rest()
        due = self._saves.due()
        if due is not None and self._open and self._core.states.error is None:
            self._timer = asyncio.get_running_loop().call_at(due, self._ring)

    def _ring(self) -> None:
        try:
            self._save()
        except SyncError:
            self._rest()  # the client has stopped over it, and says so to everybody

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        state = self.state
        if state != self._told:
            self._told = state
            self._watches.offer(state)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
