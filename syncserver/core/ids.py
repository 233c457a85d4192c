"""Ids that sort by the time at which they were made: UUIDv7 (RFC 9562, section 5.7)."""

from datetime import datetime
from uuid import UUID

RANDOM_BYTES = 10


def uuid7(at: datetime, random: bytes) -> str:
    """An id of the moment `at`, made unlike all others by RANDOM_BYTES of `random`."""
    milliseconds = max(0, int(at.timestamp() * 1000)) & (1 << 48) - 1
    noise = int.from_bytes(random[:RANDOM_BYTES], "big")
    high, low = noise >> 62 & 0xFFF, noise & (1 << 62) - 1
    return str(UUID(int=milliseconds << 80 | 7 << 76 | high << 64 | 2 << 62 | low))


class Rising:
    """Ids that rise, whatever the clock does: each is past those that were made before it."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, at: datetime, random: bytes) -> str:
        """An id of the moment `at`, or of the last one's where that was later."""
        self._last = max(self._last + 1, UUID(uuid7(at, random)).int)
        return str(UUID(int=self._last))
