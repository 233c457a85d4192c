"""What is due to one connection: frames in order, bounded in bytes. Whoever is too slow is not buffered but re-read."""

from collections import deque

BUFFER_BYTES = 1_048_576


class Writer:
    """Frames that wait for one socket. `offer` never waits; `wake` is called when there is something to take."""

    def __init__(self, limit_bytes: int = BUFFER_BYTES) -> None:
        self._limit = limit_bytes
        self._waiting: deque[bytes] = deque()
        self._bytes = 0

    def offer(self, frame: bytes) -> bool:
        """Take the frame, or answer False when it does not fit; an empty writer takes a frame of any size."""
        if self._waiting and self._bytes + len(frame) > self._limit:
            return False
        self._waiting.append(frame)
        self._bytes += len(frame)
        return True

    def take(self) -> bytes | None:
        """The next frame to write, or None."""
        if not self._waiting:
            return None
        frame = self._waiting.popleft()
        self._bytes -= len(frame)
        return frame
