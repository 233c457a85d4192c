"""The database oracle: concurrent writers on one side, clients that read through the one read door on the other.

    python tests/oracle/database.py --seed 7 --commits 25000 --comparisons 80000

At each comparison one snapshot gives both a client's pages and the truth, and both must be the same. A seed repeats
what every writer and reader does; how they meet is the machine's, so a rare mismatch may need more than one run.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

if not __package__:  # run as a program: `tests` is found from the checkout's root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from syncserver.storage import changes
from syncserver.storage.database import Database
from tests.harness import Urls
from tests.oracle import ground
from tests.oracle.clients import Client, Mismatch
from tests.oracle.readers import Reader, compared, opened, population, snapshots
from tests.oracle.senders import Pusher, door
from tests.oracle.tally import Pace, Tally
from tests.oracle.writers import Writer

WRITERS, DEVICES, DOORS = 6, 4, 2
READERS, CLIENTS = 4, 16  # clients for each reader


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `read`: what stands at the read door; `alter`: SQL on the migrated database before it begins."""

    seed: int
    commits: int
    comparisons: int
    read: Callable[..., Any] = changes.since
    alter: str = ""


@dataclass(slots=True)
class Outcome:
    """What came of it; `mismatches` ends the run at the first. `at_rest`: comparisons after the last write."""

    plan: Plan
    tally: Tally = field(default_factory=Tally)
    mismatches: list[str] = field(default_factory=list)
    at_rest: int = 0
    expires: bool = False
    seconds: float = 0.0


async def run(plan: Plan, urls: Urls) -> Outcome:
    """The whole run on a migrated database; what else goes wrong than a mismatch is raised."""
    outcome = Outcome(plan)
    outcome.expires = ground.prepare(urls.owner, plan.alter)
    began = time.monotonic()
    with mock.patch.object(changes, "since", plan.read):
        try:
            await _contest(plan, urls, outcome)
        except* Mismatch as group:
            outcome.mismatches += [str(mismatch) for mismatch in _leaves(group)][:1]
    outcome.mismatches += [] if outcome.mismatches else ground.gaps(urls.owner)
    outcome.seconds = time.monotonic() - began
    return outcome


def _leaves(group: BaseExceptionGroup[Mismatch]) -> list[Mismatch]:
    return [
        leaf for one in group.exceptions for leaf in (_leaves(one) if isinstance(one, BaseExceptionGroup) else [one])
    ]


async def _contest(plan: Plan, urls: Urls, outcome: Outcome) -> None:
    """Writers against readers; then, in quiet, every client once more."""
    tally = outcome.tally
    pace = Pace(tally, plan.commits, plan.comparisons)
    async with AsyncExitStack() as stack:
        live, still = Database(urls.server, connections=READERS), snapshots(urls.server)
        stack.push_async_callback(live.close)
        stack.push_async_callback(still.close)
        doors = [await stack.enter_async_context(door(urls.server, tally)) for _ in range(DOORS)]
        readers = _readers(plan, live, still, tally)
        clients = [client for reader in readers for client in reader.clients]
        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(reader.run(pace))
            for i in range(WRITERS):
                chance = Random(f"{plan.seed} writer {i}")
                group.create_task(Writer(urls.owner, chance, tally, pace, expires=outcome.expires).run())
            for i in range(DEVICES):
                chance = Random(f"{plan.seed} device {i}")
                group.create_task(Pusher(f"device-{i}", doors[i % DOORS], chance, tally, pace).run())
        outcome.at_rest = await _settled(live, still, clients)
        tally.refused = sum(client.refused for client in clients)


def _readers(plan: Plan, live: Database, still: Database, tally: Tally) -> list[Reader]:
    chances = [Random(f"{plan.seed} reader {i}") for i in range(READERS)]
    return [
        Reader(live, still, population(CLIENTS, i * CLIENTS, chance), chance, tally) for i, chance in enumerate(chances)
    ]


async def _settled(live: Database, still: Database, clients: list[Client]) -> int:
    """Nobody writes: each client, half of them from nothing, reads to the head page by page and holds the truth."""
    reading = opened(live)
    for i, client in enumerate(clients):
        if i % 2:
            client.forget()
        await client.catch_up(reading)
    quiet = Tally()
    await compared(still, clients, quiet, together=False)
    return quiet.comparisons


def lines(outcome: Outcome) -> list[str]:
    """The outcome for people."""
    tally, plan = outcome.tally, outcome.plan
    counted = {
        "seed": plan.seed,
        "commits": tally.commits,
        "rollbacks": tally.rollbacks,
        "tried again": ", ".join(f"{n} {name}" for name, n in sorted(tally.retried.items())) or 0,
        "comparisons": f"{tally.comparisons} ({tally.news} after news, {tally.many_pages} over several pages)",
        "at rest": outcome.at_rest,
        "refused": f"{tally.refused} below the floor",
        "mismatches": len(outcome.mismatches),
        "seconds": f"{outcome.seconds:.1f}",
        "acts": ", ".join(f"{name} {n}" for name, n in sorted(tally.acts.items())),
        "acks": ", ".join(f"{name} {n}" for name, n in sorted(tally.acks.items())),
    }
    shown = [f"{name:12} {value}" for name, value in counted.items()]
    missing = [] if outcome.expires else ["note: tombstones do not expire in this database"]
    return [*shown, *missing, *(f"MISMATCH (repeat with --seed {plan.seed}): {line}" for line in outcome.mismatches)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Concurrent writers against clients of the read door; 1 if they differ."
    )
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="of everything drawn (default: random)"
    )
    parser.add_argument("--commits", type=int, default=25_000, help="how many (default 25000)")
    parser.add_argument("--comparisons", type=int, default=80_000, help="how many (default 80000)")
    return parser.parse_args()


def main() -> None:
    """Run; ends with 0, or 1 where a client held something else than the truth."""
    options = _options()
    with ground.postgres() as urls:
        outcome = asyncio.run(run(Plan(options.seed, options.commits, options.comparisons), urls))
    print("\n".join(lines(outcome)))
    sys.exit(1 if outcome.mismatches else 0)


if __name__ == "__main__":
    main()
