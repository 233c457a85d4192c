"""Local subscriptions: any number of readers of one socket.

Each keeps the latest undelivered change of each row, so a slow reader costs at most one entry a row and never
misses the final state. The hub holds them weakly: one that an app forgot to close is garbage like anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from weakref import WeakSet

from syncserver_client.errors import SyncError
from syncserver_client.model import Change, RowId


class Subscription:
    """An async iterator of changes by offset, and an async context manager that closes it.

    Ends with StopAsyncIteration when closed or when the client is, and raises Fatal when the client had to stop.
    One task reads it.
    """

    def __init__(self, resources: Iterable[str] | None, first: Iterable[Change]) -> None:
        self._resources = None if resources is None else frozenset(resources)
        self._pending: dict[RowId, Change] = {}
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._error: SyncError | None = None
        self.offer(first)

    def offer(self, changes: Iterable[Change]) -> None:
        """Add changes, given in the order of their offsets; a newer change replaces an unread one of its row."""
        for change in changes:
            if self._resources is None or change.resource in self._resources:
                # Taken out first: the row moves to the end, which keeps the dict in the order of offsets.
                self._pending.pop(change.id, None)
                self._pending[change.id] = change
        if self._pending:
            self._wake()

    def end(self, error: SyncError | None = None) -> None:
        """No more changes will come; what is pending can still be read, then `error` is raised, if given."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake()

    async def aclose(self) -> None:
        """Stop at once; what is pending is dropped."""
        self._pending.clear()
        self.end()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Change:
        while not self._pending:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._pending.pop(next(iter(self._pending)))

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Fanout:
    """All subscriptions of one client."""

    def __init__(self) -> None:
        self._subscriptions: WeakSet[Subscription] = WeakSet()

    def add(self, subscription: Subscription) -> None:
        """Let `subscription` hear what is published from now on."""
        self._subscriptions.add(subscription)

    def publish(self, changes: Iterable[Change]) -> None:
        """Offer changes to all; forgets those that ended."""
        changes = tuple(changes)
        for subscription in tuple(self._subscriptions) if changes else ():
            if subscription._ended:  # noqa: SLF001 - the two classes are one mechanism
                self._subscriptions.discard(subscription)
            else:
                subscription.offer(changes)

    def end(self, error: SyncError | None = None) -> None:
        """End all."""
        for subscription in tuple(self._subscriptions):
            subscription.end(error)
        self._subscriptions.clear()
