"""`syncserver serve` that is also a relay from memory: bursts asked for on a Unix socket are published into its hub.

`ours.py CONTROL serve ..`. Pages are made up here, all from the hub to the wire is the product's. Channel N is the
reader `relayed-N`.
"""

import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import orjson

if not __package__:  # run as a program: `tests` and `syncserver` are found from the checkout's root
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from syncserver.app import cli, server
from syncserver.core.actor import user_owner
from syncserver.core.change import Change, Page
from syncserver.engine.house import House
from tests.bench.relays import obeying

OWNER = "relayed-{}"


class Relay:
    """Makes up what a channel's log would say next."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._made: dict[int, int] = {}
        self._epoch = ""

    async def begin(self) -> None:
        """Learn what the cursors of this log begin with."""
        self._epoch = await self._house.epoch()

    def publish(self, channel: int) -> None:
        """One event."""
        before = self._made.get(channel, 0)
        self._made[channel] = now = before + 1
        event = orjson.dumps({"ch": channel, "seq": now, "ns": time.monotonic_ns()}).decode()
        change = Change("progress", "book", now, "put", datetime.now(UTC), None, event)
        owner = user_owner(OWNER.format(channel))
        self._house.hub.publish(Page(owner, self._epoch, before, now, 0, now, [change], more=False))


def relaying(path: str) -> type[server.Server]:
    """The server's class, listening for bursts at `path` as soon as it serves."""

    class Relaying(server.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            house: House = self._house
            relay = Relay(house)
            await super().startup(sockets)
            await relay.begin()
            self._obeying = await obeying.obey(path, relay.publish)

    return Relaying


def main(path: str, *arguments: str) -> None:
    """Run the command line with these arguments."""
    server.Server = relaying(path)  # type: ignore[misc] # exchanged for this process, before anything uses it
    cli.main(arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
