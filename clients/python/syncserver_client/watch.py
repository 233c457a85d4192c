"""Things that an app may follow: each reader gets its own iterator, and one that reads nothing costs little."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar
from weakref import WeakSet

from syncserver_client.errors import SyncError

T = TypeVar("T")
REMEMBERED = 1024  # unread things kept for a reader; the oldest make room


class Watch(Generic[T]):
    """An async iterator, for one task. Ends with the client; raises what stopped it, unless that was `close`."""

    def __init__(self, first: Iterable[T], most: int) -> None:
        self._unread: deque[T] = deque(first, most)
        self._news = asyncio.Event()
        self._ended = False
        self._error: SyncError | None = None

    def offer(self, thing: T) -> None:
        """Add one."""
        self._unread.append(thing)
        self._news.set()

    def end(self, error: SyncError | None = None) -> None:
        """No more will come."""
        self._ended, self._error = True, error
        self._news.set()

    def __aiter__(self) -> Watch[T]:
        return self

    async def __anext__(self) -> T:
        while not self._unread:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._unread.popleft()


class Watches(Generic[T]):
    """All readers of one kind of thing, held weakly: one that an app forgot is garbage like anything else."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._watches: WeakSet[Watch[T]] = WeakSet()
        self._ended = False
        self._error: SyncError | None = None

    def watch(self, first: Iterable[T] = ()) -> Watch[T]:
        """A new reader, who gets `first` and then what is offered from now on; nothing needs to be closed."""
        watch = Watch(first, self._most)
        if self._ended:
            watch.end(self._error)
        self._watches.add(watch)
        return watch

    def offer(self, thing: T) -> None:
        """Give it to all."""
        for watch in tuple(self._watches):
            watch.offer(thing)

    def end(self, error: SyncError | None = None) -> None:
        """End all, those made later too."""
        self._ended, self._error = True, error
        for watch in tuple(self._watches):
            watch.end(error)
