"""The memory that the workers of one server share: what each of them counts there, all of them see at once.

A fixed number of places, in sets of eight that are found by the hash of a name; nothing on it is ever waited for longer
than another worker's few microseconds. The kernel takes the lock of a set from a process that dies; what it had counted
is given back by `vacate`. What is on the board is a guard against too much, never the truth about anything.
"""

import fcntl
import mmap
import os
import secrets
import struct
import tempfile
from collections.abc import Callable
from hashlib import blake2b
from multiprocessing import reduction
from typing import Any

WAYS = 8
"""Names that share a set. One too many is as if it had never been counted, or takes the place of the stalest."""

_KEYS = struct.Struct(f"<{WAYS}Q")
_KEY = struct.Struct("<Q")
_SECRET_BYTES = 16


class Board:
    """Made once, before the workers are; each of them gets it, with a number of its own from 0 on.

    `slots`: names that each part has room for, a power of two; of memory only what is used is taken.
    """

    def __init__(self, workers: int, slots: int = 1 << 17, *, opened: tuple[int, bytes] | None = None) -> None:
        self.workers = workers
        self.slots = slots
        self.file, self._secret = opened or (_file(), secrets.token_bytes(_SECRET_BYTES))
        self._size = 0
        self._parts: dict[str, tuple[int, str]] = {}
        for name in ("mutations", "requests", "tickets", "wrong keys", "sessions"):
            self._lay(name, "dd", 1)
        for name in ("sockets", "streams", "addresses"):
            self._lay(name, "I", workers)
        self._lay("clients", "B", 1)
        os.ftruncate(self.file, self._size)
        self.memory = mmap.mmap(self.file, self._size)

    def __reduce__(self) -> tuple[Any, ...]:
        """For a worker that is not forked but started: the same memory, in its own process."""
        return _opened, (reduction.DupFd(self.file), self.workers, self.slots, self._secret)

    def part(self, name: str) -> "Part":
        """The part of this name."""
        first_byte, value = self._parts[name]
        return Part(self, first_byte, struct.Struct(f"<{value}"), self._secret + name.encode())

    def _lay(self, name: str, value: str, columns: int) -> None:
        self._parts[name] = (self._size, value)
        self._size += self.slots * (_KEY.size + struct.calcsize(f"<{value}") * columns)


class Part:
    """Keys of names, and a value beside each; where there are several columns, each worker has its own."""

    def __init__(self, board: Board, first_byte: int, value: struct.Struct, secret: bytes) -> None:
        self.value = value
        self.workers = board.workers
        self._memory = board.memory
        self._file = board.file
        self._first = first_byte
        self._sets = board.slots // WAYS
        self._slots = board.slots
        self._values = first_byte + board.slots * _KEY.size
        self._secret = secret

    def place(self, name: str) -> tuple[int, int]:
        """The key of this name, which is never 0, and the number of its set."""
        key = int.from_bytes(blake2b(name.encode(errors="surrogatepass"), digest_size=8, key=self._secret).digest()) | 1
        return key, (key >> 1) % self._sets

    def hold(self, number: int) -> None:
        """Nobody else changes this set until `let_go`."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, self._first + number)

    def let_go(self, number: int) -> None:
        """After `hold`."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._first + number)

    def keys(self, number: int) -> tuple[int, ...]:
        """The keys in this set; 0 where there never was one."""
        return _KEYS.unpack_from(self._memory, self._first + number * _KEYS.size)

    def name(self, number: int, way: int, key: int) -> None:
        """From now on the place is that of this key."""
        _KEY.pack_into(self._memory, self._first + number * _KEYS.size + way * _KEY.size, key)

    def read(self, number: int, way: int, column: int = 0) -> tuple[Any, ...]:
        """The value at this place."""
        return self.value.unpack_from(self._memory, self._at(number, way, column))

    def write(self, number: int, way: int, *value: float, column: int = 0) -> None:
        """The value at this place, from now on."""
        self.value.pack_into(self._memory, self._at(number, way, column), *value)

    def clear(self, column: int) -> None:
        """All values of a column that nobody writes any more are 0."""
        self._memory[self._at(0, 0, column) : self._at(0, 0, column + 1)] = bytes(self._slots * self.value.size)

    def replace(self, change: Callable[[bytes], bytes]) -> None:
        """Change the values of the first column all at once, while nobody else does."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, self._sets, self._first)
        try:
            column = slice(self._at(0, 0, 0), self._at(0, 0, 1))
            self._memory[column] = change(self._memory[column])
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, self._sets, self._first)

    def _at(self, number: int, way: int, column: int) -> int:
        return self._values + (column * self._slots + number * WAYS + way) * self.value.size


def _file() -> int:
    """A file that no name leads to: it goes with the last process that has it open."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("syncserver")
    with tempfile.TemporaryFile() as made:
        return os.dup(made.fileno())


def _opened(file: Any, workers: int, slots: int, secret: bytes) -> Board:
    return Board(workers, slots, opened=(file.detach(), secret))
