"""Pauses between attempts: exponential with full jitter, so that a crowd cut off together does not return together."""

from __future__ import annotations

import random
from collections.abc import Callable

Jitter = Callable[[float, float], float]


class Backoff:
    """`next_s` gives the pause before the coming attempt, in seconds; `reset` after something worked."""

    def __init__(self, first_s: float, most_s: float, jitter: Jitter = random.uniform) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._jitter = jitter
        self._failures = 0

    def next_s(self, retry_after_s: float | None = None) -> float:
        """A random pause below the grown limit; after `retry_after_s`, where the server asked for one."""
        # 2**64 is past any sensible limit; beyond it the float would overflow after days offline.
        limit_s = min(self._most_s, self._first_s * 2 ** min(self._failures, 64))
        self._failures += 1
        return (retry_after_s or 0.0) + self._jitter(0.0, limit_s)

    def again(self) -> Backoff:
        """Another one with the same settings, at its beginning."""
        return Backoff(self._first_s, self._most_s, self._jitter)

    def reset(self) -> None:
        """Begin with short pauses again."""
        self._failures = 0
