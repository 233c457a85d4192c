"""Who is here, shared by all processes: rows are written, doorbells heard, and everybody told of the others.

The database may forget all of it (the tables are unlogged) or take this process for dead: the next sign of life finds
that out, and everything is written again. A process that ends without a word is noticed by its silence.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import uuid4

from syncserver.engine.house import Guest
from syncserver.engine.lane import AWAY, RETRY_S, Lane
from syncserver.engine.roll import Roll
from syncserver.storage import presences
from syncserver.storage.presences import Name, Present

_AT_ONCE = 200
_PAUSE_S = 0.1
"""Between two writes, so that a device that changes its state a hundred times a second writes ten of them."""


class Presence:
    """`run` writes, reads and shows signs of life until cancelled; `close` takes everybody of this process away.

    `presence_s`: how long after its last sign a process that vanished is gone for everybody, at most.
    """

    def __init__(self, lane: Lane, now: Callable[[], datetime], *, presence_s: float = 30) -> None:
        self._lane = lane
        self._now = now
        self._sign_s = presence_s / 6
        self._silent_s = presence_s - 2 * self._sign_s
        self._process = str(uuid4())
        self._roll = Roll()
        self._unwritten: dict[Name, Present | None] = {}
        self._written: set[Name] = set()
        self._rung: dict[str, None] = {}
        self._known = asyncio.Event()
        self._missed = asyncio.Event()
        self._changed = asyncio.Event()
        self._bell = asyncio.Event()

    def here(self, guest: Guest, state: Mapping[str, Any] | None) -> None:
        """The guest is here from now on, in this state; it will be told of all others."""
        present = self._roll.here(guest, state, self._now())
        if present is not None:
            self._write_soon(present.name, present)

    def left(self, guest: Guest) -> None:
        """The guest is gone; one that never said that it is here is no error."""
        if self._roll.left(guest):
            self._write_soon((guest.owner, guest.id), None)

    def ring(self, owner: str) -> None:
        """The owner's list changed, or may have."""
        if owner in self._roll:
            self._rung[owner] = None
            self._bell.set()

    def listening(self) -> None:
        """Doorbells are heard (again). Some may have been missed, and the database may have forgotten everything."""
        self._missed.set()

    async def run(self) -> None:
        """Work until cancelled. What a run before may have lost is written again."""
        self._write_all_again()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sign())
            tasks.create_task(self._write())
            tasks.create_task(self._read())

    async def close(self, within_s: float) -> None:
        """Everybody of this process is gone, and the others hear of it at once, if the database answers in time."""
        gone, self._written = self._written, set()
        if not gone:
            return
        try:
            async with asyncio.timeout(within_s):
                await self._written_down([], gone)
        except (*AWAY, TimeoutError):
            pass  # this process's silence says it too

    # -- signs of life -------------------------------------------------------

    async def _sign(self) -> None:
        while True:
            try:
                await self._show_life()
            except AWAY:
                await asyncio.sleep(min(RETRY_S, self._sign_s))
                continue
            try:
                async with asyncio.timeout(self._sign_s):
                    await self._missed.wait()
            except TimeoutError:
                pass

    async def _show_life(self) -> None:
        async with self._lane.transaction([]) as connection:
            known = await presences.alive(connection, self._process, self._silent_s)
        self._known.set()
        if not known:
            self._write_all_again()
        behind = self._roll.behind()
        for owner in self._roll.owners() if self._missed.is_set() else behind:
            self.ring(owner)
        self._missed.clear()

    def _write_all_again(self) -> None:
        for name in self._written:
            self._unwritten.setdefault(name, None)
        for present in self._roll:
            self._unwritten[present.name] = present
        self._changed.set()

    # -- what goes to the database -------------------------------------------

    def _write_soon(self, name: Name, present: Present | None) -> None:
        """The last state wins; whoever left before anything was written needs no writing."""
        if present is None and name not in self._written:
            self._unwritten.pop(name, None)
            return
        self._unwritten[name] = present
        self._changed.set()

    async def _write(self) -> None:
        await self._known.wait()  # rows of a process that has shown no sign yet would be taken for a dead one's
        while True:
            await self._changed.wait()
            batch = self._taken()
            if not batch:
                continue
            here = [present for present in batch.values() if present]
            gone = batch.keys() - {present.name for present in here}
            self._written |= {present.name for present in here}
            try:
                await self._written_down(here, gone)
            except AWAY:
                self._unwritten = batch | self._unwritten
                self._changed.set()
                await asyncio.sleep(RETRY_S)
            else:
                self._written -= gone
            await asyncio.sleep(_PAUSE_S)

    def _taken(self) -> dict[Name, Present | None]:
        batch = dict(islice(self._unwritten.items(), _AT_ONCE))
        for name in batch:
            del self._unwritten[name]
        if not self._unwritten:
            self._changed.clear()
        return batch

    async def _written_down(self, here: list[Present], gone: set[Name]) -> None:
        owners = {present.owner for present in here} | {owner for owner, _ in gone}
        async with self._lane.transaction(owners) as connection:
            await presences.write(connection, self._process, here, gone)

    # -- what comes from it --------------------------------------------------

    async def _read(self) -> None:
        while True:
            await self._bell.wait()
            owners = self._taken_rung()
            try:
                await self._tell([owner for owner in owners if owner in self._roll])
            except AWAY:
                for owner in owners:
                    self.ring(owner)
                await asyncio.sleep(RETRY_S)

    def _taken_rung(self) -> list[str]:
        owners = list(islice(self._rung, _AT_ONCE))
        for owner in owners:
            del self._rung[owner]
        if not self._rung:
            self._bell.clear()
        return owners

    async def _tell(self, owners: list[str]) -> None:
        if not owners:
            return
        async with self._lane.transaction(owners) as connection:
            found = await presences.read(connection, owners, self._silent_s)
        by_owner: dict[str, list[Present]] = {owner: [] for owner in owners}
        for present in found:
            by_owner[present.owner].append(present)
        for owner, present_now in by_owner.items():
            self._roll.tell(owner, present_now)
