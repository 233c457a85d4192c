"""When to save what changes again and again: soon after it rests, and every so often while it does not. Pure."""

from __future__ import annotations


class Debounce:
    """Times are monotonic seconds, always the caller's. `quiet_s` after the last change, `most_s` after the first."""

    def __init__(self, quiet_s: float, most_s: float) -> None:
        """ValueError unless 0 <= quiet_s <= most_s."""
        if not 0 <= quiet_s <= most_s:
            raise ValueError("0 <= quiet_s <= most_s")
        self._quiet_s = quiet_s
        self._most_s = most_s
        self._first: float | None = None
        self._last = 0.0

    @property
    def stirred(self) -> bool:
        """Whether something changed since it was saved."""
        return self._first is not None

    def changed(self, now: float) -> None:
        """Something changed."""
        self._first = now if self._first is None else self._first
        self._last = now

    def saved(self) -> None:
        """All that changed was taken."""
        self._first = None

    def due(self, *, waiting: bool) -> float | None:
        """When to save; None if there is nothing to. `waiting`: a save has no answer yet, so this one has time."""
        if self._first is None:
            return None
        most = self._first + self._most_s
        return most if waiting else min(most, self._last + self._quiet_s)
