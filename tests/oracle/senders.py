"""Writers through the one write door: devices of several owners that push puts, patches and removals, and push again.

Their bases are right, old or none; their stamps are now, long past or ahead. Some mutations are sent twice.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from syncserver.core import clock
from syncserver.core.actor import Device
from syncserver.engine.decide import Sender
from syncserver.engine.push import Push
from syncserver.storage.database import Database
from tests.oracle.acts import KINDS, OWNERS, Kind
from tests.oracle.ground import CATALOG
from tests.oracle.tally import Pace, Tally

OPS = ("put", "patch", "remove")
_WROTE = ("applied", "merged")
Raw = dict[str, Any]
Ack = dict[str, Any]


def now() -> datetime:
    """The server's time."""
    return datetime.now(UTC)


def counted(url: str, tally: Tally) -> Database:
    """The server's pool for writing; its commits are counted."""
    database = Database(url, connections=4)

    def commit(_: object) -> None:
        tally.commits += 1

    def rollback(_: object) -> None:
        tally.retried["of the write door"] += 1

    sa.event.listen(database._engine.sync_engine, "commit", commit)
    sa.event.listen(database._engine.sync_engine, "rollback", rollback)
    return database


class Pusher:
    """A device that each owner has, and what it knows of the rows from its acks."""

    def __init__(self, name: str, push: Push, chance: Random, tally: Tally, pace: Pace) -> None:
        self._device = Device(name, name.capitalize())
        self._push = push
        self._chance = chance
        self._tally = tally
        self._pace = pace
        self._known: dict[tuple[str, str, str], list[int]] = {}
        self._sent: list[tuple[Sender, Raw]] = []

    async def run(self) -> None:
        """Push until there is enough."""
        while await self._pace.writer():
            sender, raws = self._drawn()
            for raw, ack in zip(raws, await self._push.push(sender, raws), strict=True):
                self._learn(sender.owner, raw, ack)
            self._sent = [*self._sent, (sender, raws[0])][-20:]
            self._pace.moved()

    def _drawn(self) -> tuple[Sender, list[Raw]]:
        if self._sent and self._chance.random() < 0.1:
            sender, raw = self._chance.choice(self._sent)
            return sender, [raw]
        owner = self._chance.choice(OWNERS)
        sender = Sender(owner, self._device, f"client of {self._device.id}")
        return sender, [self._mutation(owner) for _ in range(self._chance.choice([1, 1, 2, 6]))]

    def _mutation(self, owner: str) -> Raw:
        kind = self._chance.choice(KINDS)
        key = str(self._chance.choice(kind.keys))
        (op,) = self._chance.choices(OPS, [5, 3, 2])
        known = self._known.get((owner, kind.resource, key), [])
        late_s = self._chance.choice([0, 0, self._chance.uniform(0, 1), self._chance.uniform(0, 600), -1.5])
        return {
            "mutation_id": str(UUID(int=self._chance.getrandbits(128), version=4)),
            "resource": kind.resource,
            "key": key,
            "op": op,
            "data": None if op == "remove" else self._fields(kind),
            "base": self._chance.choice([None, known[-1], known[-1], known[0]]) if known else None,
            "updated_at": clock.write(now() - timedelta(seconds=late_s)),
        }

    def _fields(self, kind: Kind) -> Raw:
        fields: Raw = {kind.column: kind.value(self._chance)}
        if kind.resource == "progress" and self._chance.random() < 0.3:
            fields["locator"] = {"href": f"/{self._chance.randrange(99)}", "type": "text/html"}
        return fields

    def _learn(self, owner: str, raw: Raw, ack: Ack) -> None:
        self._tally.acks[ack["status"]] += 1
        if ack["status"] in _WROTE:
            self._tally.acts[f"push {raw['op']}"] += 1
        offset = ack.get("offset") or ack.get("row", {}).get("offset")
        if offset is not None:
            place = (owner, raw["resource"], raw["key"])
            self._known[place] = [*self._known.get(place, []), offset][-5:]


@asynccontextmanager
async def door(url: str, tally: Tally) -> AsyncIterator[Push]:
    """A write door that commits what comes, as one server process has it."""
    database = counted(url, tally)
    push = Push(database, CATALOG, now)
    running = asyncio.create_task(push.run())
    try:
        yield push
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await database.close()
