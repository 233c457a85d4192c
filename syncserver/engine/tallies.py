"""How many at once, and how much in a time, over all workers of one server: counts, buckets and places on the board.

Each asks and writes in one step of a few microseconds; who asks is never refused for want of a place on the board.
"""

from collections import Counter
from typing import Protocol

from syncserver.core.bucket import Bucket, Buckets
from syncserver.engine.board import WAYS, Board


class Rates(Protocol):
    """A bucket for each name, as core.bucket.Buckets has them."""

    def take(self, name: str, now: float, number: int = 1) -> float:  # noqa: D102 - as Buckets.take
        ...

    def wait_s(self, name: str, now: float) -> float:  # noqa: D102 - as Buckets.wait_s
        ...


class Tally(Protocol):
    """How many there are of each name."""

    def take(self, name: str, most: int) -> bool:
        """One more, unless there are so many (0: any number)."""

    def give(self, name: str) -> None:
        """One less."""


class OwnTally:
    """Of this process alone."""

    def __init__(self) -> None:
        self._counted: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._counted)

    def take(self, name: str, most: int) -> bool:
        """One more, unless there are so many (0: any number)."""
        if most and self._counted[name] >= most:
            return False
        self._counted[name] += 1
        return True

    def give(self, name: str) -> None:
        """One less."""
        self._counted[name] -= 1
        if not self._counted[name]:
            del self._counted[name]


class SharedRates:
    """A bucket for each name, the same one for all workers. `per_s` 0: no limit.

    The clock has to be one of the machine, as time.monotonic is. Where a set is full, the bucket that was asked longest
    ago is as if it had never been asked.
    """

    def __init__(self, board: Board, part: str, per_s: float, burst: float) -> None:
        self._part = board.part(part)
        self._per_s = per_s
        self._burst = burst

    def take(self, name: str, now: float, number: int = 1) -> float:
        """As `Bucket.take`, of the bucket of this name."""
        if not self._per_s:
            return 0.0
        part = self._part
        key, place = part.place(name)
        part.hold(place)
        try:
            keys = part.keys(place)
            way = keys.index(key) if key in keys else self._new(place, keys, key, now)
            bucket = Bucket(self._per_s, self._burst, part.read(place, way))
            wait_s = bucket.take(now, number)
            tokens, at = bucket.state
            part.write(place, way, tokens, now if at is None else at)
        finally:
            part.let_go(place)
        return wait_s

    def wait_s(self, name: str, now: float) -> float:
        """What `take` would give for one token, without taking it."""
        key, place = self._part.place(name)
        keys = self._part.keys(place)
        if not self._per_s or key not in keys:
            return 0.0
        return Bucket(self._per_s, self._burst, self._part.read(place, keys.index(key))).wait_s(now)

    def _new(self, place: int, keys: tuple[int, ...], key: int, now: float) -> int:
        way = keys.index(0) if 0 in keys else min(range(WAYS), key=lambda way: self._part.read(place, way)[1])
        self._part.write(place, way, self._burst, now)
        self._part.name(place, way, key)
        return way


class SharedTally:
    """How many of each name there are in all workers; `me`: the column of this one, which only it writes."""

    def __init__(self, board: Board, part: str, me: int) -> None:
        self._part = board.part(part)
        self._me = me
        self._others = [worker for worker in range(board.workers) if worker != me]

    def take(self, name: str, most: int) -> bool:
        """One more, unless there are so many (0: any number)."""
        part = self._part
        key, place = part.place(name)
        part.hold(place)
        try:
            keys = part.keys(place)
            way = keys.index(key) if key in keys else self._new(place, key)
            if way is None:
                return True
            own = part.read(place, way, self._me)[0]
            if most and own + self._elsewhere(place, way) >= most:
                return False
            part.write(place, way, own + 1, column=self._me)
        finally:
            part.let_go(place)
        return True

    def give(self, name: str) -> None:
        """One less."""
        part = self._part
        key, place = part.place(name)
        part.hold(place)
        try:
            keys = part.keys(place)
            way = keys.index(key) if key in keys else None
            if way is not None and (own := part.read(place, way, self._me)[0]):
                part.write(place, way, own - 1, column=self._me)
        finally:
            part.let_go(place)

    def elsewhere(self, name: str) -> int:
        """How many there are in the other workers."""
        key, place = self._part.place(name)
        keys = self._part.keys(place)
        return self._elsewhere(place, keys.index(key)) if key in keys else 0

    def _elsewhere(self, place: int, way: int) -> int:
        read = self._part.read
        return sum([read(place, way, worker)[0] for worker in self._others])

    def _new(self, place: int, key: int) -> int | None:
        """A place of which nothing is counted any more, now with this key; None where there is none."""
        for way in range(WAYS):
            if not self._part.read(place, way, self._me)[0] and not self._elsewhere(place, way):
                self._part.name(place, way, key)
                return way
        return None


class Places:
    """In which worker each name is, if any; `me`: this one."""

    def __init__(self, board: Board, part: str, me: int) -> None:
        self._part = board.part(part)
        self._me = me

    def of(self, name: str) -> int | None:
        """The worker that it is in."""
        key, place = self._part.place(name)
        keys = self._part.keys(place)
        return self._worker(place, keys.index(key)) if key in keys else None

    def come(self, name: str) -> int | None:
        """It is in this worker now; the other one that it was in until now."""
        part = self._part
        key, place = part.place(name)
        part.hold(place)
        try:
            keys = part.keys(place)
            if key in keys:
                way = keys.index(key)
            elif free := [way for way in range(WAYS) if not part.read(place, way)[0]]:
                way = free[0]
                part.name(place, way, key)
            else:
                return None
            before = self._worker(place, way)
            part.write(place, way, self._me + 1)
        finally:
            part.let_go(place)
        return before if before != self._me else None

    def leave(self, name: str) -> None:
        """It is in this worker no more."""
        part = self._part
        key, place = part.place(name)
        part.hold(place)
        try:
            keys = part.keys(place)
            if key in keys and self._worker(place, keys.index(key)) == self._me:
                part.write(place, keys.index(key), 0)
        finally:
            part.let_go(place)

    def _worker(self, place: int, way: int) -> int | None:
        found: int = self._part.read(place, way)[0]
        return found - 1 if found else None


def rates(board: Board | None, part: str, per_s: float, burst: float) -> Rates:
    """Buckets over all workers; without a board, of this process."""
    return Buckets(per_s, burst) if board is None else SharedRates(board, part, per_s, burst)


def vacate(board: Board, worker: int) -> None:
    """Give back what a worker had counted; it is dead."""
    for name in ("sockets", "streams", "addresses"):
        board.part(name).clear(worker)
    nobody = bytes(0 if number == worker + 1 else number for number in range(256))
    board.part("clients").replace(lambda workers: workers.translate(nobody))
