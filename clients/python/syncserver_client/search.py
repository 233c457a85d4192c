"""Looking for a better transport in the background, while a lesser one does the work."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

from syncserver_client.errors import Transient
from syncserver_client.settings import Settings
from syncserver_client.way import Way

REFUSED_FOR_LONG = {"refused", "silent"}  # some box on the way lets it not through; that does not change by itself


class Search:
    """At most one attempt at a time; `wake` is called when one ends. `stop` must be awaited in the end."""

    def __init__(
        self, settings: Settings, attempt: Callable[[], Coroutine[Any, Any, Way]], wake: Callable[[], None]
    ) -> None:
        self._retry_s = settings.retry_socket_s
        self._backoff = settings.backoff()
        self._attempt = attempt
        self._wake = wake
        self._task: asyncio.Task[Way] | None = None
        self._due = 0.0

    def later(self, lost: Transient) -> None:
        """An attempt failed: a refused transport is refused for long, an unreachable server may be back any moment."""
        long = lost.code in REFUSED_FOR_LONG
        self._due = _monotonic() + (self._retry_s if long else self._backoff.next_s(lost.retry_after_s))

    def now(self) -> None:
        """Make the next attempt due."""
        self._due = 0.0

    def due_in(self) -> float:
        """Seconds until an attempt is due; infinite while one runs."""
        return math.inf if self._task is not None else max(0.0, self._due - _monotonic())

    def begin_if_due(self) -> None:
        """Start an attempt, if it is time."""
        if self.due_in() <= 0:
            self._task = asyncio.create_task(self._attempt())
            self._task.add_done_callback(lambda _: self._wake())

    def result(self) -> Way | None:
        """The transport found, opened; None while there is none; raises what an attempt that failed raised, once."""
        if self._task is None or not self._task.done():
            return None
        task, self._task = self._task, None
        return task.result()

    async def stop(self) -> None:
        """End an attempt under way; one that was found but not taken is let go."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled() and task.exception() is None:
            await task.result().close()


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
