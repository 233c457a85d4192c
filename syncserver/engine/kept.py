"""Rows that were read lately, kept in memory: a row that is asked for again costs no statement.

What is kept of an owner goes when its doorbell rings, and all that is kept when doorbells may have been missed; so a
row is never staler than a doorbell. While nobody listens for them, nothing is kept and nothing kept is used.
"""

import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from syncserver.storage.changes import Place
from syncserver.storage.rows import Listed

_BESIDE_BYTES = 1_000
"""What keeping a row takes besides its own text."""


@dataclass(slots=True)
class _Entry:
    row: Listed
    until: float
    size: int


@dataclass(eq=False, slots=True)
class _Read:
    """One that is under way. What it finds may not be true any more once it is `late`."""

    late: bool = False


class Kept:
    """Rows by owner, resource and key, each for `keep_s` at most; the least recently used go first.

    `most_bytes` bounds the memory that all of them take, and is 0 where none are kept. `listening()`: whether doorbells
    are heard. `clock`: seconds that only go forward.
    """

    def __init__(
        self,
        listening: Callable[[], bool],
        clock: Callable[[], float],
        *,
        keep_s: float = 900,
        most_rows: int = 100_000,
        most_bytes: int = 67_108_864,
    ) -> None:
        self._listening = listening
        self._clock = clock
        self._keep_s = keep_s
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._entries: OrderedDict[Place, _Entry] = OrderedDict()
        self._places: dict[str, set[Place]] = {}
        self._reads: dict[str, set[_Read]] = {}
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    async def row(self, place: Place, read: Callable[[], Awaitable[Listed | None]]) -> Listed | None:
        """The row that is kept, else what `read` finds; raises what that raises. That there is no row is not kept."""
        if not self._listening():
            return await read()
        entry = self._entries.get(place)
        if entry is not None and self._clock() < entry.until:
            self._entries.move_to_end(place)
            return entry.row
        until = self._clock() + self._keep_s
        under_way = _Read()
        reads = self._reads.setdefault(place[0], set())
        reads.add(under_way)
        try:
            found = await read()
        finally:
            self._done(place[0], under_way)
        if found is not None and not under_way.late and self._listening():
            self._keep(place, _Entry(found, until, sys.getsizeof(found.json) + _BESIDE_BYTES))
        return found

    def drop(self, owner: str) -> None:
        """What is kept of this owner, or is being read at this moment, may not be true any more."""
        for place in self._places.pop(owner, ()):
            self.size -= self._entries.pop(place).size
        for under_way in self._reads.get(owner, ()):
            under_way.late = True

    def drop_all(self) -> None:
        """The same of every owner: doorbells may have been missed."""
        for owner in {*self._places, *self._reads}:
            self.drop(owner)

    def _done(self, owner: str, under_way: _Read) -> None:
        reads = self._reads[owner]
        reads.discard(under_way)
        if not reads:
            del self._reads[owner]

    def _keep(self, place: Place, entry: _Entry) -> None:
        self._forget(place)
        if entry.size > self._most_bytes:
            return
        self._entries[place] = entry
        self._places.setdefault(place[0], set()).add(place)
        self.size += entry.size
        while len(self._entries) > self._most_rows or self.size > self._most_bytes:
            self._forget(next(iter(self._entries)))

    def _forget(self, place: Place) -> None:
        entry = self._entries.pop(place, None)
        if entry is None:
            return
        self.size -= entry.size
        places = self._places[place[0]]
        places.discard(place)
        if not places:
            del self._places[place[0]]
