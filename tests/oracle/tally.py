"""What a run has done so far, and the pace that keeps writers and readers together until both are through."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

_APART = 50  # neither side is ahead of the other by more than this fraction of the run


@dataclass(slots=True)
class Tally:
    """Counts. `acts` are those that were committed and met a row, by name; `news`: comparisons after new changes."""

    commits: int = 0
    rollbacks: int = 0
    retried: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    acks: Counter[str] = field(default_factory=Counter)
    comparisons: int = 0
    news: int = 0
    pages: int = 0
    many_pages: int = 0
    refused: int = 0


class Pace:
    """Writers wait for readers and readers for writers, so that all comparisons are made while there is writing."""

    def __init__(self, tally: Tally, commits: int, comparisons: int) -> None:
        self._tally = tally
        self._commits = commits
        self._comparisons = comparisons
        self._writers = asyncio.Event()
        self._readers = asyncio.Event()
        self.moved()

    def moved(self) -> None:
        """The tally is another: let go whoever may."""
        ahead = self._tally.commits * self._comparisons - self._tally.comparisons * self._commits
        apart = self._commits * self._comparisons // _APART
        _switch(self._writers, ahead <= apart)
        _switch(self._readers, ahead >= -apart)

    async def writer(self) -> bool:
        """Wait for a writer's turn; whether there is more to write."""
        await self._writers.wait()
        return self._tally.commits < self._commits

    async def reader(self) -> bool:
        """Wait for a reader's turn; whether there is more to compare."""
        await self._readers.wait()
        return self._tally.comparisons < self._comparisons


def _switch(event: asyncio.Event, on: bool) -> None:
    if on:
        event.set()
    else:
        event.clear()
