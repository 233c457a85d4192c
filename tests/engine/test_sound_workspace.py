"""Whatever readers write, in whatever order, their workspaces are sound; nothing that doctor looks for is there."""

from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from syncserver.core import rank
from syncserver.core.actor import Device, session_owner
from syncserver.engine.claim import Claim
from syncserver.engine.decide import Sender
from syncserver.engine.push import Push
from syncserver.storage import belonging, constraints, diagnosis, workspaces
from syncserver.storage.database import Database
from syncserver.storage.diagnosis import Finding
from syncserver.storage.resource import Catalog
from tests.engine.conftest import NOW

Raw = dict[str, Any]
ADA = "user:ada"
BATCHES, SIZE = 12, 20


class Author:
    """Writes at random, of a few rows that it makes, changes, moves and removes again and again."""

    def __init__(self, seed: int, places: list[str]) -> None:
        self._random = Random(seed)
        self._places = places
        self._count = 0

    def batch(self) -> list[Raw]:
        """Some mutations."""
        return [self._mutation() for _ in range(SIZE)]

    def _mutation(self) -> Raw:
        self._count += 1
        stamp = NOW - timedelta(days=1) + timedelta(seconds=self._count + self._random.randrange(-5, 6))
        one = self._random.choice([self._node, self._node, self._component, self._component, self._relationship])
        return {"mutation_id": str(uuid4()), "updated_at": stamp.isoformat(), **one(self._random.choice(self._places))}

    def _own(self) -> str:
        return f"N{self._random.randrange(1, 9):03}"

    def _node(self, place: str) -> Raw:
        key = f"{place}:{self._own()}"
        match self._random.randrange(4):
            case 0:
                return {"resource": "nodes", "key": key, "op": "remove"}
            case 1:
                new = {"session_id": place, "title": "new"}
                return {"resource": "nodes", "key": {"temp": str(uuid4())}, "op": "put", "data": new}
            case _:
                return {"resource": "nodes", "key": key, "op": "put", "data": {"title": str(self._count)}}

    def _component(self, place: str) -> Raw:
        at = {"resource": "node_components", "key": f"{place}:c{self._random.randrange(9)}"}
        match self._random.randrange(4):
            case 0:
                return {**at, "op": "remove"}
            case 1:
                return {**at, "op": "patch", "data": {"rank": self._random.choice(rank.spread(5))}}
            case _:
                return {**at, "op": "put", "data": {"node_id": self._own(), "type": "text"}}

    def _relationship(self, place: str) -> Raw:
        at = {"resource": "session_relationships", "key": f"{place}:r{self._random.randrange(9)}"}
        if self._random.randrange(4):
            ends = {"from_node": self._own(), "to_node": self._own()}
            return {**at, "op": "put", "data": {**ends, "type": "hunts"}}
        return {**at, "op": "remove"}


async def _wrong(server: Database, catalog: Catalog, owner: str) -> list[Finding]:
    async with server.transaction([owner]) as connection:
        return [
            *(await diagnosis.of(connection, catalog, owner)).findings,
            *await belonging.of(connection, catalog, owner),
            *await workspaces.of(connection, catalog, owner),
            *await constraints.of(connection, catalog),
        ]


async def _written(push: Push, author: Author, owner: str) -> int:
    """How many were taken."""
    taken = 0
    for turn in range(BATCHES):
        acks = await push.push(Sender(owner, Device(device := f"device-{turn % 2}"), device), author.batch())
        taken += sum(ack["status"] in ("applied", "merged") for ack in acks)
    return taken


@pytest.mark.parametrize("seed", range(3))
async def test_after_random_writes_cascades_and_a_claim_everything_is_sound(
    push: Push, server: Database, catalog: Catalog, sql: psycopg.Connection, seed: int
):
    visitor, own = UUID(int=seed + 1), str(uuid4())
    sql.execute(
        "INSERT INTO sessions (owner, id) VALUES (%s, %s), (%s, %s)", [session_owner(visitor), visitor, ADA, own]
    )
    assert await _written(push, Author(seed, [str(visitor)]), session_owner(visitor)) > SIZE
    assert await _wrong(server, catalog, session_owner(visitor)) == []
    assert await _written(push, Author(seed + 10, [own]), ADA) > SIZE
    await Claim(server, catalog).claim(ADA, visitor)
    assert await _wrong(server, catalog, session_owner(visitor)) == await _wrong(server, catalog, ADA) == []
    assert await _written(push, Author(seed + 20, [own, str(visitor)]), ADA) > SIZE
    sql.execute("DELETE FROM nodes WHERE node_id = 'N003'")
    assert await _wrong(server, catalog, ADA) == []
    removed = sql.execute("SELECT DISTINCT resource FROM changes WHERE owner = %s AND op = 'remove' ORDER BY 1", [ADA])
    assert {"node_components", "nodes", "session_relationships"} <= {resource for (resource,) in removed}
    assert sql.execute("SELECT count(*) > 0 FROM node_numbers").fetchone() == (True,)
