"""Readers: many clients a reader, whose pages and whose truth come from one snapshot at each comparison.

Between comparisons some go on page by page through the open door, each page a snapshot of its own, as in real life.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.change import Page
from syncserver.core.cursor import Cursor
from syncserver.core.errors import Refetch
from syncserver.engine.pull import Pull
from syncserver.storage import changes, trip
from syncserver.storage.database import Database
from syncserver.storage.trip import Ask
from tests.oracle import truth
from tests.oracle.acts import OWNERS
from tests.oracle.clients import Client, Door
from tests.oracle.ground import CATALOG
from tests.oracle.tally import Pace, Tally

_FILTERS = [None, None, None, frozenset({"progress"}), frozenset({"notes"}), frozenset[str]()]
_LIMITS = [range(1, 8), range(1, 8), range(1, 2), range(500, 501)]
_WEIGHTS = [8, 8, 4, 1]
"""How often a client reads: always, or once in a while."""


class _Within(Database):
    """A database whose every transaction is one that is open already: what is read through it is of its snapshot."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def transaction(
        self,
        owners: Collection[str],  # noqa: ARG002 - the open one was begun for them
        *,
        queue: bool = False,  # noqa: ARG002 - readers do not wait
        **_: Any,
    ) -> AsyncIterator[AsyncConnection]:
        yield self._connection

    async def read(self, owners: Iterable[str], ask: Ask[Any]) -> Any:  # noqa: ARG002 - as above
        return await trip.one(self._connection, ask)


def snapshots(url: str) -> Database:
    """The server's pool, but that each transaction is one snapshot from its begin to its end."""
    database = Database(url, connections=8)
    database._engine = database._engine.execution_options(isolation_level="REPEATABLE READ")
    return database


def opened(database: Database) -> Door:
    """The engine's way to read a page."""
    pull = Pull(database, CATALOG)

    async def door(client: Client, limit: int) -> Page:
        return await pull.page(client.owner, client.cursor, client.wanted, limit)

    return door


def population(count: int, first: int, chance: Random) -> tuple[list[Client], list[int]]:
    """So many clients, and how often each reads."""
    clients = [
        Client(first + i, OWNERS[i % len(OWNERS)], chance.choice(_FILTERS), chance.choice(_LIMITS), chance)
        for i in range(count)
    ]
    return clients, [chance.choice(_WEIGHTS) for _ in clients]


class Reader:
    """One of them. `live` is the server's pool, `still` the same in snapshots."""

    def __init__(
        self, live: Database, still: Database, clients: tuple[list[Client], list[int]], chance: Random, tally: Tally
    ) -> None:
        self._live = opened(live)
        self._still = still
        self.clients, self._weights = clients
        self._chance = chance
        self._tally = tally

    async def run(self, pace: Pace) -> None:
        """Read and compare until there is enough."""
        while await pace.reader():
            picked = {client.name: client for client in self._picked()}
            await self._compared(list(picked.values()))
            pace.moved()

    def _picked(self) -> list[Client]:
        return self._chance.choices(self.clients, self._weights, k=self._chance.randint(1, 8))

    async def _compared(self, clients: Sequence[Client]) -> None:
        before = [client.offset for client in clients]
        for client in clients:
            client.disturb()
            if self._chance.random() < 0.1:
                await client.follow(self._live, self._chance.randint(1, 4))
        await compared(self._still, clients, self._tally, together=self._chance.random() < 0.5)
        self._tally.news += sum(client.offset != offset for client, offset in zip(clients, before, strict=True))


async def compared(still: Database, clients: Sequence[Client], tally: Tally, *, together: bool) -> None:
    """Catch these clients up and compare each with the truth, all in one snapshot; raises Mismatch."""
    owners = sorted({client.owner for client in clients})
    async with still.transaction(owners) as connection:
        door = opened(_Within(connection))
        some = {c.owner: c for c in clients if c.wanted is None} if together else {}
        there = await _side_by_side(connection, some)
        for client in clients:
            if client.name not in there:
                await client.catch_up(door)
        true = await truth.read(connection, owners)
    for client in clients:
        client.compare(true[client.owner])
        tally.comparisons += 1
        tally.pages += client.pages
        tally.many_pages += client.pages > 1


async def _side_by_side(connection: AsyncConnection, clients: dict[str, Client]) -> set[str]:
    """A page for each of several owners in one read, as the live feed has it; who is at the head then."""
    there = set[str]()
    after = {owner: client.offset for owner, client in clients.items()}
    pages = await trip.one(connection, changes.since(CATALOG, after))
    for owner, page in pages.items():
        client = clients[owner]
        try:
            checked(client.cursor, page)
        except Refetch as refusal:
            client.refuse(refusal)
        else:
            client.pages = 0
            client.take(page, changes.PAGE_ROWS)
            there |= set() if page.more else {client.name}
    return there


def checked(cursor: Cursor | None, page: Page) -> None:
    """Raise Refetch where a reader at this cursor may not have the page."""
    if cursor is not None:
        cursor.check(page.epoch, page.owner, page.floor, page.head)
