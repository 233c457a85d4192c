"""How often one socket sends: some frames at once, then so many a second, which is less than a server lets through.

What is written meanwhile goes together in the next frame.
"""

from __future__ import annotations


class Pace:
    """Pure: times are monotonic seconds. `at_once` frames, then `per_s`."""

    def __init__(self, at_once: int = 100, per_s: float = 40) -> None:
        self._ahead_s = (at_once - 1) / per_s
        self._step_s = 1 / per_s
        self._next = 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until the next frame may go; 0 for now."""
        return max(0.0, self._next - self._ahead_s - now)

    def sent(self, now: float) -> None:
        """A frame went."""
        self._next = max(now, self._next) + self._step_s
