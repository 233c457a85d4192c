"""A watch on a server process: each second its memory, files, tasks, sockets, and its connections to the database."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.launched import Launched
from tests.bench.sql import Sql
from tests.bench.verdict import Run, Sample, at_rest

EVERY_S = 1.0
REST_SAMPLES = 5


class Watch:
    """Run `run` as a task. `begun` and `ended` mark the time under load."""

    def __init__(self, server: Launched, sql: Sql) -> None:
        self._server = server
        self._sql = sql
        self._read = 0
        self._looked = asyncio.Event()
        self.samples: list[Sample] = []
        self.begun_s = self.ended_s = 0.0

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            line = self._newest()
            if line is not None and line["pid"] == self._server.pid:
                self.samples.append(await self._sample(line))
                self._looked.set()
            await asyncio.sleep(EVERY_S)

    async def look(self, times: int) -> Sequence[Sample]:
        """The next samples, so many."""
        wanted = len(self.samples) + times
        while len(self.samples) < wanted:
            self._looked.clear()
            await self._looked.wait()
        return self.samples[-times:]

    async def settled(self, start: Sequence[Sample], within_s: float) -> None:
        """Wait until no more is there than at the start, or the time has passed."""
        end = time.monotonic() + within_s
        while not at_rest(start, await self.look(REST_SAMPLES)) and time.monotonic() < end:
            pass

    def restarted(self) -> None:
        """Another process serves now: what went before is not comparable, and the load begins anew."""
        self.begun_s = time.monotonic()

    def parted(self, start: Sequence[Sample]) -> Run:
        """Everything, for the verdict."""
        load = [sample for sample in self.samples if self.begun_s <= sample.at_s <= self.ended_s]
        return Run(start, load, self.samples[-REST_SAMPLES:])

    async def _sample(self, line: dict[str, Any]) -> Sample:
        connections = await self._sql.connections()
        memory = await asyncio.to_thread(memory_bytes, line["pid"])
        return Sample(line["at_s"], memory, line["files"], line["tasks"], line["sockets"], connections)

    def _newest(self) -> dict[str, Any] | None:
        """The last whole line that is new since the last call."""
        with self._server.samples.open("rb") as file:
            file.seek(self._read)
            lines = file.read().rpartition(b"\n")[0]
        if not lines:
            return None
        self._read += len(lines) + 1
        newest: dict[str, Any] = json.loads(lines.rpartition(b"\n")[2])
        return newest


def memory_bytes(pid: int) -> int:
    """What a process holds in memory now (its resident set); 0 for one that is gone."""
    if sys.platform == "linux":
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return 0
        return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0)
    said = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return int(said or 0) * 1024
