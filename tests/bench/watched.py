"""`syncserver serve` as it is, in a process that counts itself: a line of JSON a second into the file named first.

The hook is here and not in the server: its class is exchanged for one whose start begins the counting. Where
WATCHED_PING_S is set, it pings every so many seconds, and waits half as long again for the answer.
"""

import asyncio
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import TextIO

if not __package__:  # run as a program: `tests` and `syncserver` are found from the checkout's root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from syncserver.app import cli, server

EVERY_S = 1.0
PING_S = "WATCHED_PING_S"


def main(path: str, *arguments: str) -> None:
    """Run the command line with these arguments; what is counted is appended to the file at `path`."""
    with Path(path).open("a") as out:
        if ping_s := float(os.environ.get(PING_S, "0")):
            server._PING_S, server._PONG_S = ping_s, 1.5 * ping_s
        server.Server = counting(out)  # type: ignore[misc] # exchanged for this process, before anything uses it
        cli.main(arguments)


def counting(out: TextIO) -> type[server.Server]:
    """The server's class, counting from its start to its end."""

    class Counting(server.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            self._counted = asyncio.create_task(_count(self, out))
            await super().startup(sockets)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            self._counted.cancel()
            await super().shutdown(sockets)

    return Counting


async def _count(counted: server.Server, out: TextIO) -> None:
    while True:
        line = {
            "pid": os.getpid(),
            "at_s": time.monotonic(),
            "files": len(os.listdir("/dev/fd")) - 1,  # noqa: PTH208 - as text; the one that lists is not counted
            "tasks": len(asyncio.all_tasks()) - 1,
            "sockets": len(counted.server_state.connections),
        }
        print(json.dumps(line), file=out, flush=True)
        await asyncio.sleep(EVERY_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
