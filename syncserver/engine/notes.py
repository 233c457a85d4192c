"""Broadcasts and conflict notes: posted to the database, passed on by each process that has the owner's connections.

What waits together goes together, both ways: while one transaction is under way, notes that are sent wait for the next,
and so do those whose doorbell rings. Each is passed on at most once and kept by nobody.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from syncserver.core import encode, frames
from syncserver.core.errors import Invalid, Unavailable
from syncserver.engine.house import Guest
from syncserver.engine.lane import AWAY, RETRY_S, Lane
from syncserver.storage import notes
from syncserver.storage.notes import Note, Ring

_AT_ONCE = 64
_UNSENT = "The broadcast could not be passed on; nothing keeps it, send it again if it still matters."


@dataclass(frozen=True, slots=True)
class _Waiting:
    note: Note
    posted: asyncio.Future[None]


class Notes:
    """`run` posts and passes on until cancelled. `of` gives the guests of an owner who are in this process."""

    def __init__(self, lane: Lane, of: Callable[[str], Collection[Guest]], now: Callable[[], datetime]) -> None:
        self._lane = lane
        self._of = of
        self._now = now
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._rung: dict[Ring, None] = {}
        self._bell = asyncio.Event()

    async def broadcast(self, guest: Guest, topic: str, data: Any) -> None:
        """Send this to the owner's other connections, whatever process they are in; returns when it is on its way.

        What one connection sends, one after the other, is heard in that order. Raises Unavailable: nobody hears it.
        """
        if guest.sender is None:
            raise Invalid("Only a socket can broadcast.")
        frame = frames.BroadcastFrame(
            topic=topic, data=data, connection=guest.id, device_id=guest.sender.device.id, sent_at=self._now()
        )
        note = Note(guest.owner, "broadcast", encode.frame(frame).decode(), guest.id)
        waiting = _Waiting(note, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived.set()
        await waiting.posted

    def ring(self, owner: str, number: int) -> None:
        """A note's doorbell; whose owner has nobody here, is not read."""
        if self._of(owner):
            self._rung[owner, number] = None
            self._bell.set()

    async def run(self) -> None:
        """Post and pass on until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._post_all())
            tasks.create_task(self._pass_all_on())

    async def _post_all(self) -> None:
        while True:
            await self._arrived.wait()
            batch = [self._queue.popleft() for _ in range(min(_AT_ONCE, len(self._queue)))]
            if not self._queue:
                self._arrived.clear()
            try:
                await self._post([waiting.note for waiting in batch])
            except AWAY:
                _answer(batch, Unavailable(_UNSENT))
            except BaseException:
                _answer(batch, Unavailable(_UNSENT))
                raise
            else:
                _answer(batch, None)

    async def _post(self, batch: Sequence[Note]) -> None:
        async with self._lane.transaction({note.owner for note in batch}) as connection:
            await notes.post(connection, batch)

    async def _pass_all_on(self) -> None:
        while True:
            await self._bell.wait()
            rung = self._taken()
            try:
                found = await self._read([ring for ring in rung if self._of(ring[0])])
            except AWAY:
                self._rung = dict.fromkeys([*rung, *self._rung])
                self._bell.set()
                await asyncio.sleep(RETRY_S)
                continue
            for note in found:
                self._pass_on(note)

    def _taken(self) -> list[Ring]:
        rung = list(islice(self._rung, _AT_ONCE))
        for ring in rung:
            del self._rung[ring]
        if not self._rung:
            self._bell.clear()
        return rung

    async def _read(self, rung: Sequence[Ring]) -> list[Note]:
        if not rung:
            return []
        async with self._lane.transaction({owner for owner, _ in rung}) as connection:
            return await notes.read(connection, rung)

    def _pass_on(self, note: Note) -> None:
        """To all of its owner, or to its device; never back to where it came from. Who has no room, misses it."""
        frame = note.body.encode()
        for guest in self._of(note.owner):
            if guest.id != note.connection and _is_for(note, guest):
                guest.offer(frame)


def _is_for(note: Note, guest: Guest) -> bool:
    """What is for all devices reaches sockets; what is for one, its streams too."""
    return guest.sender is not None if note.device_id is None else note.device_id == guest.device_id


def _answer(batch: Sequence[_Waiting], error: Unavailable | None) -> None:
    for waiting in batch:
        if waiting.posted.done():  # whoever sent it may be gone
            continue
        if error is None:
            waiting.posted.set_result(None)
        else:
            waiting.posted.set_exception(error)
