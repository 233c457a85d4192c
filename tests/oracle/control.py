"""The control: the same concurrent writing against three kinds of cursor, and how many committed rows each never shows.

    python tests/oracle/control.py

A number from a sequence and a stamp of now() are taken before their transaction commits: a reader that has passed
them by then never comes back. It ends with 1 unless those two lose rows here, and the read door loses none.
"""

import argparse
import asyncio
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import psycopg

if not __package__:  # run as a program: `tests` is found from the checkout's root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from syncserver import resources
from syncserver.storage import changes, trip
from syncserver.storage.database import Database
from tests.harness import Urls
from tests.oracle import ground
from tests.oracle.acts import OWNERS

WRITERS = 8
HELD_S = 0.01


class Way(ABC):
    """One way to be told of new rows: how a writer inserts one, and how a reader, from its cursor, asks for more."""

    name: str
    schema = ""
    insert: str

    def arguments(self, name: str) -> Sequence[Any]:
        """For the insert of the row `name`."""
        return [name]

    @abstractmethod
    async def read(self) -> list[str]:
        """The names of the rows that came since the last read; the cursor moves past them."""

    @abstractmethod
    async def close(self) -> None:
        """Nothing more is read."""


class _Polled(Way):
    """A cursor in a column of the rows themselves."""

    query: str

    def __init__(self, connection: psycopg.AsyncConnection, cursor: Any) -> None:
        self._connection = connection
        self._cursor = cursor

    async def read(self) -> list[str]:
        found = await (await self._connection.execute(self.query.encode(), [self._cursor])).fetchall()
        if found:
            self._cursor = found[-1][1]
        return [name for name, _ in found]

    async def close(self) -> None:
        await self._connection.close()


class ById(_Polled):
    """Numbers from a sequence."""

    name = "id > cursor (bigserial)"
    schema = "CREATE TABLE control_by_id (id bigserial PRIMARY KEY, name text NOT NULL)"
    insert = "INSERT INTO control_by_id (name) VALUES (%s)"
    query = "SELECT name, id FROM control_by_id WHERE id > %s ORDER BY id"

    @classmethod
    async def opened(cls, urls: Urls) -> Way:
        """A reader that has seen nothing yet."""
        return cls(await psycopg.AsyncConnection.connect(urls.owner, autocommit=True), 0)


class ByStamp(_Polled):
    """The moment at which the row's transaction began."""

    name = "updated_at > since (now())"
    schema = "CREATE TABLE control_by_stamp (name text PRIMARY KEY, updated_at timestamptz NOT NULL DEFAULT now())"
    insert = "INSERT INTO control_by_stamp (name) VALUES (%s)"
    query = "SELECT name, updated_at FROM control_by_stamp WHERE updated_at > %s ORDER BY updated_at"

    @classmethod
    async def opened(cls, urls: Urls) -> Way:
        """A reader that has seen nothing yet."""
        return cls(await psycopg.AsyncConnection.connect(urls.owner, autocommit=True), datetime.min.replace(tzinfo=UTC))


class ByOffset(Way):
    """The change index, read through its one door."""

    name = "since (gapless offsets)"
    insert = "INSERT INTO reading_progress (owner, publication_id) VALUES (%s, %s)"

    def __init__(self, database: Database, owners: Sequence[str]) -> None:
        self._database = database
        self._owners = owners
        self._after = dict.fromkeys(owners, 0)

    @classmethod
    async def opened(cls, urls: Urls) -> Way:
        """A reader that has seen nothing yet, of some owners."""
        return cls(Database(urls.server, connections=1), OWNERS[:4])

    def arguments(self, name: str) -> Sequence[Any]:
        return [self._owners[sum(name.encode()) % len(self._owners)], name]

    async def read(self) -> list[str]:
        async with self._database.transaction(self._owners) as connection:
            pages = await trip.one(connection, changes.since(resources.catalog(), self._after))
        self._after = {owner: page.until for owner, page in pages.items()}
        return [change.key for page in pages.values() for change in page.changes]

    async def close(self) -> None:
        await self._database.close()


WAYS = (ById, ByStamp, ByOffset)


@dataclass(frozen=True, slots=True)
class Loss:
    """What a reader was told of what was committed. `untrue`: rows that never were, and those it was told twice."""

    way: str
    committed: int
    never_seen: int
    untrue: int

    def line(self) -> str:
        """The same for people."""
        share = 100 * self.never_seen / self.committed
        seen = f"{self.never_seen} never seen ({share:.1f} %), {self.untrue} untrue"
        return f"{self.way:28} {self.committed} committed, {seen}"


async def contest(way: type[ById | ByStamp | ByOffset], urls: Urls, seed: int, transactions: int) -> Loss:
    """Writers that each commit (or roll back) so many transactions, and one reader that asks all the time."""
    async with await psycopg.AsyncConnection.connect(urls.owner, autocommit=True) as connection:
        await connection.execute(way.schema.encode())
    reader = await way.opened(urls)
    seen: list[str] = []
    async with asyncio.TaskGroup() as group:
        chances = [Random(f"{seed} {i}") for i in range(WRITERS)]
        writing = [group.create_task(_write(reader, urls.owner, i, c, transactions)) for i, c in enumerate(chances)]
        while not all(task.done() for task in writing):
            seen += await reader.read()
    seen += await reader.read()
    await reader.close()
    committed = set[str]().union(*(task.result() for task in writing))
    missed = committed - set(seen)
    return Loss(way.name, len(committed), len(missed), len(seen) - len(committed & set(seen)))


async def _write(way: Way, url: str, writer: int, chance: Random, transactions: int) -> set[str]:
    """What this writer committed, by name."""
    committed: set[str] = set()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for i in range(transactions):
            name, undone = f"{writer}-{i}", chance.random() < 0.1
            async with connection.transaction(force_rollback=undone):
                await connection.execute(way.insert.encode(), way.arguments(name))
                await asyncio.sleep(chance.uniform(0, HELD_S))
            committed |= set() if undone else {name}
    return committed


def good(losses: Sequence[Loss]) -> bool:
    """Whether the control shows what it is for: the common cursors lose rows here, ours does not."""
    *common, ours = losses
    return all(loss.never_seen for loss in common) and (ours.never_seen, ours.untrue) == (0, 0)


async def _all(urls: Urls, seed: int, transactions: int) -> list[Loss]:
    return [await contest(way, urls, seed, transactions) for way in WAYS]


def main() -> None:
    """Run; ends with 0, or 1 where it does not show what it should."""
    parser = argparse.ArgumentParser(description="How many committed rows three kinds of cursor never show.")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="of everything drawn (default: random)"
    )
    parser.add_argument("--transactions", type=int, default=400, help=f"of each of {WRITERS} writers (default 400)")
    options = parser.parse_args()
    with ground.postgres() as urls:
        losses = asyncio.run(_all(urls, options.seed, options.transactions))
    print(f"seed {options.seed}", *(loss.line() for loss in losses), sep="\n")
    sys.exit(0 if good(losses) else 1)


if __name__ == "__main__":
    main()
