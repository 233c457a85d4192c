"""Token buckets: so many at once, and so many a second for good. Pure: the time is an argument, in seconds.

Whoever asks for more than a bucket holds gets it when the bucket is full, and the next one waits the longer.
"""

from collections import OrderedDict
from collections.abc import Hashable

_NOTHING = 1e-6
"""Less than this is missing only because floats are not exact; it is owed, so it does not add up."""


class Bucket:
    """Full at first. `per_s`: tokens that come in a second; `burst`: what it holds at most.

    `state`: of one that was asked before, to go on from there.
    """

    __slots__ = ("_at", "_burst", "_per_s", "_tokens")

    def __init__(self, per_s: float, burst: float, state: tuple[float, float | None] | None = None) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens, self._at = (burst, None) if state is None else state

    @property
    def state(self) -> tuple[float, float | None]:
        """All that it remembers: the tokens it held, and when (None: it was never asked)."""
        return self._tokens, self._at

    def take(self, now: float, number: int = 1) -> float:
        """Take so many and give 0; or take none, and give the seconds after which it is worth asking again."""
        wait_s = self.wait_s(now, number)
        if not wait_s:
            self._tokens -= number
        return wait_s

    def wait_s(self, now: float, number: int = 1) -> float:
        """What `take` would give, without taking anything."""
        self._fill(now)
        missing = min(number, self._burst) - self._tokens
        return missing / self._per_s if missing > _NOTHING else 0.0

    def full(self, now: float) -> bool:
        """Whether it is as good as a new one."""
        self._fill(now)
        return self._tokens >= self._burst

    def _fill(self, now: float) -> None:
        if self._at is not None and now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_s)
        self._at = now if self._at is None else max(self._at, now)


class Buckets:
    """A bucket for each name. `per_s` 0: no limit. Those that are full again are forgotten.

    Never more than `most` are kept: past that, the one that was asked longest ago is as if it had never been asked.
    """

    def __init__(self, per_s: float, burst: float, *, most: int = 50_000) -> None:
        self._per_s = per_s
        self._burst = burst
        self._most = most
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: Hashable, now: float, number: int = 1) -> float:
        """As `Bucket.take`, of the bucket of this name."""
        if not self._per_s:
            return 0.0
        self._forget(now)
        bucket = self._buckets.pop(name, None) or Bucket(self._per_s, self._burst)
        self._buckets[name] = bucket
        return bucket.take(now, number)

    def wait_s(self, name: Hashable, now: float) -> float:
        """What `take` would give for one token, without taking it."""
        bucket = self._buckets.get(name)
        return bucket.wait_s(now) if bucket is not None else 0.0

    def _forget(self, now: float) -> None:
        """Two for each that may come, so that they become fewer; the one asked longest ago stands first."""
        for _ in range(2):
            if not self._buckets:
                return
            first = next(iter(self._buckets))
            if len(self._buckets) < self._most and not self._buckets[first].full(now):
                return
            del self._buckets[first]
