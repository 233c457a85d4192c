"""The server's time, as well as this device can know it.

A device's own clock may be minutes slow or a day fast. What it says is compared with the server's at each hello, and
every stamp is corrected by the difference; stamps only ever grow, so later writes of one client never look older.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

TICK = timedelta(microseconds=1)  # the smallest step that a stamp on the wire can show


def system_now() -> datetime:
    """The time as the device has it, in UTC."""
    return datetime.now(UTC)


class Clock:
    """Corrected time. `raw` is the device's clock, injectable for simulations."""

    def __init__(self, raw: Callable[[], datetime] = system_now) -> None:
        self.raw = raw
        self.known = False
        self.offset = timedelta()
        self._least = self._most = timedelta()
        self.last: datetime | None = None  # the greatest stamp given

    def synchronise(self, sent_at: datetime, received_at: datetime, server_time: datetime) -> None:
        """Learn from one question and answer: both stamps of this device (raw), and the server's between them.

        The true offset lies between two bounds, and each answer may bring them closer: one that was long on its way
        makes nothing worse. If the new bounds leave no room for the old, one of the clocks was set: the new ones hold.
        """
        least, most = server_time - received_at, server_time - sent_at
        if self.known and least <= self._most and self._least <= most:
            least, most = max(least, self._least), min(most, self._most)
        self._least, self._most = least, most
        self.offset = least + (most - least) / 2
        self.known = True

    def now(self) -> datetime:
        """Server time at this moment."""
        return self.raw() + self.offset

    def stamp(self, raw: datetime) -> datetime:
        """The corrected stamp of the raw moment `raw`, greater than every stamp given before."""
        moment = raw + self.offset
        if self.last is not None and moment <= self.last:
            moment = self.last + TICK
        self.last = moment
        return moment
