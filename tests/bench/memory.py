"""The resident memory of a server, looked at from outside every few milliseconds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

_LOOK_S = 0.005


class Memory:
    """One process's, in MiB: `idle` before it is watched, `peak` while it is."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self.idle = self.peak = 0.0

    def now(self) -> float:
        """As it is."""
        line = next(line for line in self._status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look every few milliseconds until left."""
        self.idle = self.peak = self.now()
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, self.now())
            await asyncio.sleep(_LOOK_S)
