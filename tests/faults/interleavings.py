"""Two devices complete, update and delete the same reading session at once, in a thousand ways: nothing is half-made.

Each seed is a reader of its own. His devices write through one server's door, or through the doors of two servers on
one database, so that their transactions meet; now and then one of those is killed in the middle and sent again. Then
every write that the database saw, every answer and the log from its beginning are held against the laws of sessions.

    python tests/faults/interleavings.py --seeds 1000
"""

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parents[2]))

from syncserver import resources
from syncserver.engine.pull import Pull
from syncserver.engine.push import Push
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog
from tests.faults import launched, witness
from tests.faults.racers import NOW, Racer, Raw, at, content, uuid
from tests.faults.races import Race
from tests.faults.witness import Observer
from tests.harness import Urls

_AT_ONCE = 32
_KILL_EVERY = 600


@dataclass
class Report:
    """What became of a run."""

    seeds: int = 0
    mutations: int = 0
    again: int = 0
    completed: int = 0
    looks: int = 0
    wrong: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        """The run in a line."""
        said = ", ".join(f"{number} {status}" for status, number in sorted(self.statuses.items()))
        return (
            f"interleavings: {self.seeds} seeds, {self.mutations} mutations ({said}), {self.again} deferred by a kill "
            f"and sent again, {self.completed} readings, {self.looks} snapshots; wrong: {len(self.wrong)}"
        )


@asynccontextmanager
async def doors(url: str, catalog: Catalog, number: int = 2) -> AsyncIterator[list[Push]]:
    """The write doors of so many servers on one database, at work. Their clocks stand still."""
    pools = [Database(url) for _ in range(number)]
    found = [Push(pool, catalog, lambda: NOW) for pool in pools]
    running = [asyncio.create_task(door.run()) for door in found]
    try:
        yield found
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for pool in pools:
            await pool.close()


async def run(urls: Urls, first: int, number: int, *, catalog: Catalog | None = None, tell: bool = False) -> Report:
    """So many seeds from the `first` on, some at a time, and then the judgement. `catalog`: one with a mistake."""
    report, running = Report(number), set[str]()
    catalog = catalog or resources.catalog()
    observer = Observer(urls.owner, lambda: running)
    with psycopg.connect(urls.owner, autocommit=True) as sql:
        witness.kill(sql, _KILL_EVERY)
        async with doors(urls.server, catalog) as pushes, pooled(urls.server) as pool:
            watching = asyncio.create_task(observer.watch())
            races = [Race(seed, pushes, Pull(pool, catalog)) for seed in range(first, first + number)]
            await _raced(races, running, watching)
            witness.kill(sql, 0)
            for seed in range(first, first + number, 4):
                report.wrong += await order(f"{seed}", pushes, sql)
        for race in races:
            _judge(race, report, sql)
    report.looks = observer.looks
    report.wrong += observer.seen
    if tell:
        print(report.line(), flush=True)
    return report


@asynccontextmanager
async def pooled(url: str) -> AsyncIterator[Database]:
    """A pool of one more server."""
    pool = Database(url)
    try:
        yield pool
    finally:
        await pool.close()


async def _raced(races: list[Race], running: set[str], watching: asyncio.Task[None]) -> None:
    """Run them, some at a time, for as long as somebody looks on."""
    waiting = list(reversed(races))

    async def lane() -> None:
        while waiting:
            race = waiting.pop()
            running.add(race.owner)
            await race.run()
            running.discard(race.owner)

    async def lanes() -> None:
        await asyncio.gather(*(lane() for _ in range(_AT_ONCE)))

    racing = asyncio.create_task(lanes())
    try:
        done, _ = await asyncio.wait({racing, watching}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        racing.cancel()
        watching.cancel()
        await asyncio.gather(racing, watching, return_exceptions=True)


def _judge(race: Race, report: Report, sql: psycopg.Connection) -> None:
    replay = race.judge(sql)
    report.wrong += [f"seed {race.seed}: {sentence}" for sentence in race.wrong]
    report.completed += len(replay.readings)
    for racer in race.racers:
        report.mutations += len(racer.sent)
        report.again += racer.again
        report.statuses.update(ack["status"] for told in racer.answers.values() for ack in told)


async def order(seed: str, pushes: list[Push], sql: psycopg.Connection) -> list[str]:
    """The same whole rows in two orders, one completed at most: whose connection was faster is no matter."""
    dice = random.Random(seed)
    session, mutations = uuid(dice), _whole_rows(dice)
    completed = any(made["data"]["status"] == "completed" for _, made in mutations)
    final = []
    for turn in ("forth", "back"):
        owner = f"user:{seed} {turn}"
        racers = {name: Racer(owner, name, session, dice.choice(pushes), dice) for name in ("phone", "tablet")}
        for name, made in mutations:
            await racers[name].send([{**made, "key": session, "mutation_id": uuid(dice)}])
        dice.shuffle(mutations)
        [(row,)] = sql.execute("SELECT to_jsonb(s) FROM reading_sessions s WHERE owner = %s", [owner]).fetchall()
        # What came after the completion is lost with it: of times that were joined, and of stamps that were raised.
        order = {"owner", "active_seconds", "last_activity", "started_at", "updated_at"} if completed else {"owner"}
        final.append({name: value for name, value in row.items() if name not in order})
    return [] if final[0] == final[1] else [f"seed {seed}: the order of arrival decided: {final}"]


def _whole_rows(dice: random.Random) -> list[tuple[str, Raw]]:
    """Rows that nobody knew of each other's, with stamps that differ; the devices that wrote them."""
    stamps = dice.sample(range(-40, 0), dice.randint(2, 5))
    found = []
    for number, minutes in enumerate(stamps):
        status = "completed" if number == 0 and dice.random() < 0.5 else dice.choice(["active", "paused", "abandoned"])
        fields = {**content(dice), "publication_id": "moby", "status": status}
        made = {"resource": "reading_sessions", "op": "put", "data": fields, "updated_at": at(minutes)}
        found.append((dice.choice(["phone", "tablet"]), made))
    return found


async def _run(options: argparse.Namespace) -> bool:
    begun = time.monotonic()
    with launched.postgres() as postgres:
        with psycopg.connect(postgres.urls.owner, autocommit=True) as sql:
            witness.install(sql)
        report = await run(postgres.urls, options.seed, options.seeds, tell=True)
    for wrong in report.wrong[:20]:
        print(wrong)
    print(f"{time.monotonic() - begun:.0f} s")
    return not report.wrong


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    sys.exit(0 if asyncio.run(_run(parser.parse_args())) else 1)


if __name__ == "__main__":
    main()
