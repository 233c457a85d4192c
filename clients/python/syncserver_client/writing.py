"""The client's face for writes: waited for, or queued and heard of later."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from syncserver_client.acks import AckWatch
from syncserver_client.core import Core
from syncserver_client.errors import Offline, Rejected
from syncserver_client.growing import Growing
from syncserver_client.model import MIRRORED, Mirrored, RowId
from syncserver_client.mutation import Ack, Mutation
from syncserver_client.outbox import Entry
from syncserver_client.wire import JsonObject


class Writing:
    """Part of `Client`."""

    _core: Core

    async def put(
        self,
        resource: str,
        key: str,
        value: JsonObject,
        *,
        base: int | Mirrored | None = MIRRORED,
        updated_at: datetime | None = None,
        policy: str | None = None,
    ) -> Ack:
        """Write a whole row. See `push`; raises Rejected instead of returning such an ack."""
        return await self._one(Mutation("put", resource, key, value, base, updated_at, policy))

    async def patch(
        self,
        resource: str,
        key: str,
        value: JsonObject,
        *,
        base: int | Mirrored | None = MIRRORED,
        updated_at: datetime | None = None,
        policy: str | None = None,
    ) -> Ack:
        """Write some fields of a row. See `push`; raises Rejected instead of returning such an ack."""
        return await self._one(Mutation("patch", resource, key, value, base, updated_at, policy))

    async def remove(
        self,
        resource: str,
        key: str,
        *,
        base: int | Mirrored | None = MIRRORED,
        updated_at: datetime | None = None,
        policy: str | None = None,
    ) -> Ack:
        """Remove a row. See `push`; raises Rejected instead of returning such an ack."""
        return await self._one(Mutation("remove", resource, key, None, base, updated_at, policy))

    async def push(self, mutations: Sequence[Mutation]) -> list[Ack]:
        """Write several at once; their acks in the same order, rejected ones among them.

        Sent again, unchanged, until the server has answered all. Offline after `timeout_s`: the server may have
        them or not, and sending the same Mutations again is safe; with a store they stay queued, and their acks come
        by `acks`. TypeError or ValueError if a value is no JSON; nothing was queued then.
        """
        entries = self._core.queue(mutations, awaited=True)
        try:
            return await self._answers(entries)
        finally:
            self._core.let_go(entries)

    def enqueue(self, mutation: Mutation) -> str:
        """Queue a write and go on: its id. With a store it is durable now and outlives the program; see `acks`.

        Errors as `push`, at once; whether the server takes it is in its ack.
        """
        self._core.queue([mutation], awaited=False)
        return mutation.mutation_id

    def growing(self, resource: str, key: str, field: str = "content", *, per_s: float = 20.0) -> Growing:
        """A text of a row that is there, as it is typed: an async context manager with `add`.

        At most `per_s` patches a second are queued, and the last one always. ValueError for fewer than one a second.
        """
        return Growing(self._core, RowId(resource, key), field, per_s=per_s)

    @property
    def pending(self) -> list[Mutation]:
        """The writes that wait for their ack, oldest first; with a store, those of earlier runs among them."""
        return self._core.outbox.waiting

    def acks(self) -> AckWatch:
        """An async iterator of the acks of all writes, from this call on.

        With a store it begins with those that nobody was there to hear: of `enqueue`, of writes whose caller gave up,
        of earlier runs. One is forgotten when the next is asked for, or when 10,000 newer ones wait.
        """
        return AckWatch(self._core.acks.watch(self._core.memory.unheard()), self._core.heard)

    async def _one(self, mutation: Mutation) -> Ack:
        (ack,) = await self.push([mutation])
        if ack.refused:
            raise Rejected(ack.code or "rejected", ack.detail or "")
        return ack

    async def _answers(self, entries: Sequence[Entry]) -> list[Ack]:
        answers = [entry.answer for entry in entries if entry.answer is not None]
        if answers:
            await asyncio.wait(answers, timeout=self._core.settings.timeout_s)
        waiting = sum(not answer.done() for answer in answers)
        if waiting:
            raise Offline(f"{waiting} of {len(answers)} writes had no answer")
        return [answer.result() for answer in answers]
