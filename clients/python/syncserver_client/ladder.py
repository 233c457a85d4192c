"""Which transport to try next: pure. The best first, down when one fails twice in a row or says nothing, and round.

When even the last has failed, every one gets a single try a round, with growing pauses between rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

PATIENCE = 2
SILENT = "silent"
UNREACHABLE = "unreachable"
LATER = ("rate_limited", "http_429")
"""The server asks for patience: the transport works, and is tried again when it says."""


class Next(Enum):
    """What follows from a failure."""

    AGAIN = "again"  # the same transport, after a pause
    DOWN = "down"  # the next one, at once
    REST = "rest"  # none works; from the top, after a pause


class Ladder:
    """`name` is the transport to use now."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._at = 0
        self._failures = 0
        self._worked = False
        self._single = False  # each gets one try: nobody can be reached, whatever the transport

    @property
    def name(self) -> str:
        """The transport to use now."""
        return self._names[self._at]

    @property
    def better(self) -> Sequence[str]:
        """Those above it, the best first."""
        return self._names[: self._at]

    def stand(self, name: str) -> None:
        """A better one was found: use it."""
        self._at = self._names.index(name)
        self._failures = 0

    def worked(self) -> None:
        """It caught up: its coming end is not a transport that could not be had."""
        self._worked, self._single = True, False

    def top(self) -> None:
        """Things have changed: begin from the best."""
        self._at, self._failures, self._single = 0, 0, False

    def failed(self, code: str) -> Next:
        """It could not be had, or ended. One that worked a moment ago gets its tries anew."""
        if code in LATER:
            return Next.AGAIN
        if self._worked:
            self._worked, self._failures = False, 0
            return Next.AGAIN
        self._failures += 1
        if self._failures < PATIENCE and code != SILENT and not self._single:
            return Next.AGAIN
        self._failures = 0
        self._single = self._single or code == UNREACHABLE
        if self._at + 1 < len(self._names):
            self._at += 1
            return Next.DOWN
        self._at, self._single = 0, True
        return Next.REST
