"""One timer for many: whoever joins is called once in each interval, until it leaves."""

import asyncio
from collections import OrderedDict
from itertools import takewhile
from typing import Protocol

_TOGETHER_S = 0.02
"""Whose time comes within this is called together."""


class Beating(Protocol):
    """Who is called."""

    def beat(self) -> None:
        """An interval is over."""


class Pulse:
    """`every_s`: the interval. It begins for each when that joins, so the calls are spread as the joining was."""

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self._members: OrderedDict[Beating, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._members)

    def join(self, member: Beating) -> None:
        """Be called from now on; the first time after an interval."""
        loop = asyncio.get_running_loop()
        self._members[member] = loop.time() + self.every_s
        if self._timer is None:
            self._timer = loop.call_later(self.every_s, self._beat)

    def leave(self, member: Beating) -> None:
        """Not any more."""
        self._members.pop(member, None)
        if not self._members and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        due = self._due(loop.time())
        self._timer = loop.call_at(next(iter(self._members.values())), self._beat)
        for member in due:
            if member in self._members:
                member.beat()

    def _due(self, now: float) -> list[Beating]:
        """Whose interval is over, or nearly; it begins again for them."""
        due = list(takewhile(lambda member: self._members[member] <= now + _TOGETHER_S, self._members))
        for member in due:
            self._members[member] = now + self.every_s
            self._members.move_to_end(member)
        return due
