"""`syncserver serve` as it is, in a process that notes its pauses: a line of JSON a second into the file named first.

`loop_ms`: by how much the loop was late at most, for whoever wanted to be woken; `collector_ms`: the collector's
longest stay.
"""

import asyncio
import gc
import json
import socket
import sys
import time
from pathlib import Path
from typing import TextIO

if not __package__:  # run as a program: `tests` and `syncserver` are found from the checkout's root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from syncserver.app import cli, server

_LOOK_S, _EVERY_S = 0.005, 1.0


class Pauses:
    """The longest since they were last told."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._loop_s = self._collector_s = self._began = 0.0

    def collecting(self, phase: str, _: dict[str, int]) -> None:
        """What the collector calls before and after."""
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._collector_s = max(self._collector_s, time.perf_counter() - self._began)

    async def watch(self) -> None:
        """Until cancelled."""
        told = time.monotonic()
        while True:
            due = time.monotonic() + _LOOK_S
            await asyncio.sleep(_LOOK_S)
            now = time.monotonic()
            self._loop_s = max(self._loop_s, now - due)
            if now - told >= _EVERY_S:
                self._tell(now)
                told = now

    def _tell(self, now: float) -> None:
        line = {"at_s": now, "loop_ms": 1000 * self._loop_s, "collector_ms": 1000 * self._collector_s}
        print(json.dumps(line), file=self._out, flush=True)
        self._loop_s = self._collector_s = 0.0


def noting(pauses: Pauses) -> type[server.Server]:
    """The server's class, watched from its start to its end."""

    class Noting(server.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            gc.callbacks.append(pauses.collecting)
            self._watching = asyncio.create_task(pauses.watch())

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            self._watching.cancel()
            await super().shutdown(sockets)

    return Noting


def main(path: str, *arguments: str) -> None:
    """Run the command line with these arguments; what is noted is appended to the file at `path`."""
    with Path(path).open("a") as out:
        server.Server = noting(Pauses(out))  # type: ignore[misc] # exchanged for this process, before anything uses it
        cli.main(arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
