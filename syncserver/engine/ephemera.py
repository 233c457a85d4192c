"""What passes between one owner's devices and is kept by nobody: presence, broadcasts, conflict notes.

Nothing here is needed for the log: an outage loses it, and presence comes back by itself.
"""

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime

from syncserver.core import frames
from syncserver.engine.house import Guest
from syncserver.engine.lane import Lane
from syncserver.engine.notes import Notes
from syncserver.engine.presence import Presence
from syncserver.storage.database import Database
from syncserver.storage.presences import RING

_NUMBER_DIGITS = 18


class Ephemera:
    """`run` until cancelled, then `close`. `of` gives the guests of an owner who are in this process.

    `presence_s`: when who vanished is gone for everybody, at most.
    """

    def __init__(
        self,
        database: Database,
        of: Callable[[str], Collection[Guest]],
        now: Callable[[], datetime],
        *,
        presence_s: float = 30,
    ) -> None:
        lane = Lane(database)
        self._notes = Notes(lane, of, now)
        self._presence = Presence(lane, now, presence_s=presence_s)

    async def here(self, guest: Guest, frame: frames.Presence) -> None:
        """The verb `presence`: the guest is here, in this state, and hears of the others from now on."""
        self._presence.here(guest, frame.state)

    async def broadcast(self, guest: Guest, frame: frames.Broadcast) -> None:
        """The verb `broadcast`: to the owner's other sockets; raises Unavailable where nobody will hear it."""
        await self._notes.broadcast(guest, frame.topic, frame.data)

    def left(self, guest: Guest) -> None:
        """The guest is gone."""
        self._presence.left(guest)

    def ring(self, payload: str) -> None:
        """A doorbell: `presence <owner>` or `<number of a note> <owner>`; any login may ring, so others are ignored."""
        what, _, owner = payload.partition(" ")
        if what == RING:
            self._presence.ring(owner)
        elif what.isascii() and what.isdecimal() and len(what) <= _NUMBER_DIGITS:
            self._notes.ring(owner, int(what))

    def listening(self) -> None:
        """Doorbells are heard (again): those that were missed are made good for presence, and lost for notes."""
        self._presence.listening()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._notes.run())
            tasks.create_task(self._presence.run())

    async def close(self, within_s: float = 2) -> None:
        """After `run`: whoever was here in this process is gone."""
        await self._presence.close(within_s)
