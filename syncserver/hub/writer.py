"""What is due to one connection: frames in order, bounded in bytes. Whoever is too slow is not buffered but re-read."""

BUFFER_BYTES = 1_048_576


class Writer:
    """Frames that wait for one wire. `offer` never waits."""

    __slots__ = ("_bytes", "_limit", "_waiting")

    def __init__(self, limit_bytes: int = BUFFER_BYTES) -> None:
        self._limit = limit_bytes
        self._waiting: list[bytes] = []
        self._bytes = 0

    def offer(self, frame: bytes) -> bool:
        """Take the frame, or answer False when it does not fit; an empty writer takes a frame of any size."""
        if self._waiting and self._bytes + len(frame) > self._limit:
            return False
        self._waiting.append(frame)
        self._bytes += len(frame)
        return True

    def take(self) -> list[bytes]:
        """All that waits, in order; after that it is empty."""
        taken, self._waiting = self._waiting, []
        self._bytes = 0
        return taken
