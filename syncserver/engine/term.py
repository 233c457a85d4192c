"""How long an actor may stay: the end of its token, with a warning before, whatever was shown meanwhile."""

import asyncio
from collections.abc import Callable
from datetime import datetime

EXPIRED = 4001
"""The code that a connection is closed with when its token has ended."""

_WARNING_S = 60.0
_LOOK_S = 3600.0
"""The wall clock may be set: how far it is, is looked at again at least this often."""


class Term:
    """`warn(in_s)` is called once when less than a minute is left, `over()` at the end."""

    def __init__(self, now: Callable[[], datetime], warn: Callable[[float], None], over: Callable[[], None]) -> None:
        self._now = now
        self._warn = warn
        self._over = over
        self._expires_at: datetime | None = None
        self._warned = False
        self._timer: asyncio.TimerHandle | None = None

    def until(self, expires_at: datetime | None) -> None:
        """The end from now on; None: there is none."""
        self.stop()
        self._expires_at = expires_at
        self._warned = False
        self._look()

    def stop(self) -> None:
        """Nothing is to happen any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self._expires_at is None:
            return
        left_s = (self._expires_at - self._now()).total_seconds()
        if left_s <= 0:
            self._over()
            return
        if left_s <= _WARNING_S and not self._warned:
            self._warned = True
            self._warn(round(left_s, 1))
        next_s = left_s if self._warned else left_s - _WARNING_S
        self._timer = asyncio.get_running_loop().call_later(min(next_s, _LOOK_S), self._look)
