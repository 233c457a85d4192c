"""What a server process holds: memory, files, tasks, sockets and database connections, and whether it grew."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.watch import memory_bytes

MIB = 2**20
_ALLOWED_SHARE, _ALLOWED_BYTES = 0.10, 8 * MIB
_LOOK_S = 0.1
_SLACK = 2


@dataclass(frozen=True, slots=True)
class Footprint:
    """One look. `connections`: the server's to its database."""

    memory_bytes: int
    files: int
    tasks: int
    sockets: int
    connections: int

    def line(self) -> str:
        """In a line."""
        return (
            f"{self.memory_bytes / MIB:.1f} MiB, {self.files} files, {self.tasks} tasks, {self.sockets} sockets, "
            f"{self.connections} database connections"
        )

    def left_of(self, idle: "Footprint") -> list[str]:
        """What is left over, against a server that nobody uses. A pool's connections stay, and are files."""
        counted = {
            "files": (self.files - self.connections, idle.files - idle.connections),
            "tasks": (self.tasks, idle.tasks),
            "sockets": (self.sockets, idle.sockets),
        }
        return [
            f"{now} {name} are left, {then} at the start"
            for name, (now, then) in counted.items()
            if now > then + _SLACK
        ]


class Counted:
    """The lines that a counting server (tests/bench/watched.py) writes to `path`; `connections` asks its database."""

    def __init__(self, path: Path, connections: Callable[[], Awaitable[int]]) -> None:
        self._path = path
        self._connections = connections

    async def look(self) -> Footprint:
        """How it is from now on: what it writes after this was called."""
        begun = len(self._lines())
        while len(lines := self._lines()) <= begun:  # noqa: ASYNC110 - a file has no event to wait for
            await asyncio.sleep(_LOOK_S)
        newest = json.loads(lines[-1])
        memory = memory_bytes(newest["pid"])
        return Footprint(memory, newest["files"], newest["tasks"], newest["sockets"], await self._connections())

    async def at_rest(self, idle: Footprint, within_s: float) -> Footprint:
        """How it is when nothing is left over, or when the time has passed."""
        found = await self.look()
        try:
            async with asyncio.timeout(within_s):
                while found.left_of(idle):
                    found = await self.look()
        except TimeoutError:
            pass
        return found

    def _lines(self) -> list[bytes]:
        return self._path.read_bytes().split(b"\n")[:-1] if self._path.exists() else []


def growth(early: Footprint, late: Footprint, most_connections: int) -> list[str]:
    """In which ways `late` is more than `early` may become."""
    allowed = early.memory_bytes * (1 + _ALLOWED_SHARE) + _ALLOWED_BYTES
    wrong = []
    if late.memory_bytes > allowed:
        wrong.append(f"memory grew from {early.memory_bytes / MIB:.1f} to {late.memory_bytes / MIB:.1f} MiB")
    if late.connections > most_connections:
        wrong.append(f"{late.connections} database connections, {most_connections} are allowed")
    return wrong
