"""Two devices reorder one sequence at once, online and offline: both end with the same one, and nothing is lost.

Each has a copy of its own and a queue. What it does online it asks of the server, as the routes do; what it does
offline it decides by its own copy and sends later, one by one. The judge knows only what was put in and taken out.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncserver.core import clock, rank, sequence
from syncserver.core.actor import Device
from syncserver.core.errors import NotFound, NotWhole, Superseded
from syncserver.core.sequence import Spot
from syncserver.engine import sequences
from syncserver.engine.decide import Sender
from syncserver.engine.pull import Pull
from syncserver.engine.push import Push
from syncserver.engine.sequences import Home, identified
from syncserver.engine.whole import Whole
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog
from syncserver.storage.threads import Span
from tests.engine.conftest import NOW

Raw = dict[str, Any]
OWNER = "user:ada"
COMPONENTS = "node_components"


class Node:
    """One node, and all that a run knows of what was done to its components."""

    def __init__(self, push: Push, whole: Whole, pull: Pull, session: str) -> None:
        self.push, self.whole, self.pull, self.session = push, whole, pull, session
        self.key = f"{session}:N001"
        self.put: set[str] = set()
        self.taken: set[str] = set()
        self._steps = 0

    def now(self) -> datetime:
        """Later than every moment before it, whichever device asks."""
        self._steps += 1
        return NOW + timedelta(milliseconds=self._steps)

    def home(self) -> Home:
        return Home(self.pull.catalog[COMPONENTS], OWNER, self.key, self.now())

    async def ranks(self) -> dict[str, str]:
        """The sequence as the server lists it."""
        found = await self.pull.thread(OWNER, COMPONENTS, self.key, Span(1_000))
        assert found is not None
        return {row.key: orjson.loads(row.json)["rank"] for row in found}

    async def pushed(self, sender: Sender, mutations: list[Raw]) -> None:
        """Send these; a removal that lost to a newer write, as any write may, took nothing out."""
        for raw, ack in zip(mutations, await self.push.push(sender, mutations), strict=True):
            if raw["op"] == "remove" and ack["status"] == "applied":
                self.taken.add(raw["key"])


class Copy:
    """One device: what it holds, and what it did since it last was online."""

    def __init__(self, node: Node, name: str) -> None:
        self.node, self.sender = node, Sender(OWNER, Device(name), name)
        self.ranks: dict[str, str] = {}
        self.queue: list[Raw] = []
        self.seen = "0-0"

    @property
    def order(self) -> list[str]:
        return sorted(self.ranks, key=lambda key: (self.ranks[key], key))

    def pick(self, number: int) -> str | None:
        return self.order[number % len(self.ranks)] if self.ranks else None

    def unsent(self) -> set[str]:
        """What it has put in offline: the server has not heard of it, and cannot take it out."""
        return {raw["key"] for raw in self.queue if raw["op"] == "put"}

    def new(self) -> str:
        return f"{self.node.session}:{uuid4()}"

    def raw(self, op: str, key: str, **data: Any) -> Raw:
        made = {"mutation_id": str(uuid4()), "resource": COMPONENTS, "key": key, "op": op}
        if op == "put":
            data |= {"node_id": "N001", "type": "text"}
        return made | ({"data": data} if op != "remove" else {}) | {"updated_at": clock.write(self.node.now())}

    # -- offline ------------------------------------------------------------

    def wrote(self, ranks: dict[str, str], put: str | None = None) -> None:
        """By its own copy, to be sent later."""
        for key, own in ranks.items():
            self.queue.append(self.raw("put" if key == put else "patch", key, rank=own))
        self.ranks |= ranks

    async def insert_offline(self, number: int, where: int) -> None:
        del number
        key = self.new()
        self.node.put.add(key)
        self.wrote(sequence.arranged(sequence.placed(self.order, key, Spot(where)), self.ranks, self.node.now()), key)

    async def move_offline(self, number: int, where: int) -> None:
        key = self.pick(number)
        if key is not None:
            others = {other: own for other, own in self.ranks.items() if other != key}
            wanted = sequence.placed([other for other in self.order if other != key], key, Spot(where))
            self.wrote(sequence.arranged(wanted, others, self.node.now()))

    async def remove_offline(self, number: int, where: int) -> None:
        del where
        key = self.pick(number)
        if key is not None:
            del self.ranks[key]
            self.queue.append(self.raw("remove", key))

    # -- online -------------------------------------------------------------

    async def asked(self, plan: Callable[[Any], Awaitable[list[Raw]]]) -> bool:
        """Whether the server did it: what another device took away meanwhile, it does not."""
        name = str(uuid4())

        async def named(connection: Any) -> list[Raw]:
            return identified(await plan(connection), name)

        try:
            await self.node.whole.planned(self.sender, name, named)
        except (NotFound, NotWhole, Superseded):
            return False
        return True

    def bare(self, op: str, key: str, **data: Any) -> Raw:
        return {name: value for name, value in self.raw(op, key, **data).items() if name != "updated_at"}

    async def insert(self, number: int, where: int) -> None:
        del number
        put = self.bare("put", self.new())
        home = self.node.home()
        assert await self.asked(lambda c: sequences.inserted(c, home, put, Spot(where)))
        self.node.put.add(put["key"])

    async def move(self, number: int, where: int) -> None:
        key = self.pick(number)
        if key is not None:
            patch, home = self.bare("patch", key), self.node.home()
            await self.asked(lambda c: sequences.moved(c, home, patch, Spot(where)))

    async def remove(self, number: int, where: int) -> None:
        del where
        key = self.pick(number)
        if key is not None:
            await self.node.pushed(self.sender, [self.raw("remove", key)])

    async def replace(self, number: int, where: int) -> None:
        """All that it sees, turned round, one of them left out and a new one put in; if that is still what is there."""
        turned = self.order[::-1]
        out = turned.pop(number % len(turned)) if turned else None
        new = self.new()
        wanted = [self.bare("put", key) for key in sequence.placed(turned, new, Spot(where))]
        home, seen = self.node.home(), self.seen
        if await self.asked(lambda c: sequences.replaced(c, home, wanted, seen)):
            self.node.put.add(new)
            self.node.taken |= {out} - self.unsent() if out is not None else set()

    async def meet(self, number: int = 0, where: int = 0) -> None:
        """Send what waited, in order, and take what there is."""
        del number, where
        if self.queue:
            await self.node.pushed(self.sender, self.queue)
            self.queue = []
        self.seen = str(await self.node.pull.sequence(OWNER, COMPONENTS, self.node.key))
        self.ranks = await self.node.ranks()


_OFFLINE = ("insert_offline", "move_offline", "move_offline", "remove_offline")
_ACTS = st.tuples(
    st.sampled_from((*_OFFLINE, "insert", "move", "move", "remove", "replace", "meet", "meet")),
    st.integers(0, 1),
    st.integers(0, 9),
    st.integers(0, 9),
)


@pytest.fixture
async def whole(server: Database, catalog: Catalog) -> Whole:
    return Whole(server, catalog, lambda: NOW)


async def laid(push: Push, whole: Whole, pull: Pull, sql: psycopg.Connection) -> tuple[Node, Copy, Copy]:
    """A node of a new session, with five components that both devices have seen."""
    session = str(uuid4())
    sql.execute("INSERT INTO sessions (owner, id) VALUES (%s, %s)", [OWNER, session])
    node = Node(push, whole, pull, session)
    one, other = Copy(node, "phone"), Copy(node, "tablet")
    made = {"mutation_id": str(uuid4()), "resource": "nodes", "key": node.key, "op": "put", "data": {}}
    await push.push(one.sender, [made])
    for place in range(5):
        await one.insert(0, place)
    await asyncio.gather(one.meet(), other.meet())
    return node, one, other


async def agreed(node: Node, *devices: Copy) -> None:
    for device in devices:
        await device.meet()
    for device in devices:
        await device.meet()
    there = await node.ranks()
    for device in devices:
        assert device.order == list(there)
    assert list(there) == sorted(there, key=lambda key: (there[key], key))
    assert set(there) == node.put - node.taken
    assert all(len(own) <= rank.MAX_CHARS for own in there.values())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(_ACTS, min_size=4, max_size=25))
async def test_both_end_with_the_same_sequence_and_nothing_is_lost(
    push: Push, whole: Whole, pull: Pull, sql: psycopg.Connection, acts: list[tuple[str, int, int, int]]
):
    node, *devices = await laid(push, whole, pull, sql)
    for act, who, number, where in acts:
        await getattr(devices[who], act)(number, where)
    await agreed(node, *devices)


async def test_a_place_that_is_crowded_is_given_room_while_another_device_moves_what_stands_there(
    push: Push, whole: Whole, pull: Pull, sql: psycopg.Connection
):
    node, one, other = await laid(push, whole, pull, sql)
    first, second = one.order[:2]
    narrow = {first: f"{'V' * 127}1", second: f"{'V' * 127}2"}
    await push.push(one.sender, [one.raw("patch", key, rank=own) for key, own in narrow.items()])
    await asyncio.gather(one.meet(), other.meet())
    assert one.ranks[first] == narrow[first]
    spot = one.order.index(second)
    await one.insert(0, spot)
    await one.meet()
    assert one.order[spot - 1 : spot + 2 : 2] == [first, second]
    assert max(map(len, one.ranks.values())) <= rank.CROWDED_CHARS
    await push.push(one.sender, [one.raw("patch", key, rank=own) for key, own in narrow.items()])
    await asyncio.gather(one.meet(), other.meet())
    await asyncio.gather(*(act for n in range(8) for act in (one.insert(n, spot), other.move(n, spot))))
    await agreed(node, one, other)
    assert max(map(len, one.ranks.values())) <= rank.CROWDED_CHARS
    assert len(one.ranks) == 14
