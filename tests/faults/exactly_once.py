"""Exactly once: counters that only add, and a server that is killed around its commits, hundreds of times.

`python tests/faults/exactly_once.py --kills 500 --seed 1`. Most kills strike between the commit and the answers, where
a sender cannot know; it sends again, over whichever transport, until it is answered. Ends with 1 unless every addition
is there once, every answer is the first one, and every sum is exact.
"""

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import psycopg

if not __package__:  # run as a program: `tests` is found from the checkout's root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.faults import launched, tally
from tests.faults.kills import Kill, Point
from tests.faults.launched import Postgres, Server
from tests.faults.readers import Link
from tests.faults.replica import Replica, Seen, Wrong
from tests.faults.writers import Outbox, Sent, Writer
from tests.harness import token

_OWNERS, _SENDERS = 2, 8
_REPORT_EVERY = 50
_DECK: Sequence[Point] = ("between",) * 6 + ("before",) * 2 + ("after",) * 2
_FINISH_S = 60


@dataclass
class Report:
    """What became of a run."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    additions: int = 0
    again: int = 0
    known: int = 0
    wrong: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The run in a line."""
        points = ", ".join(f"{count} {point}" for point, count in sorted(self.kills.items()))
        return (
            f"exactly once, seed {self.seed}: {self.kills.total()} kills ({points}), {self.additions} additions, "
            f"{self.again} sent again, {self.known} of them done already; wrong: {len(self.wrong)}"
        )


class Sender:
    """One device that adds, over POST and sockets in turn."""

    def __init__(self, number: int, user: str, port: int, seed: int) -> None:
        self.owner = f"user:{user}"
        self.name = f"d{number}"
        self.outbox = Outbox()
        self.wrong: list[str] = []
        self._dice = random.Random(f"{seed} {number}")
        link = Link(port, token(user), self.name, Replica(Seen()), self._dice, self.outbox.acked)
        self._writer = Writer(link, self.outbox, self._dice)

    async def run(self, over: asyncio.Event) -> None:
        """Add until it is over and all is answered."""
        while not over.is_set():
            batch = [self._addition() for _ in range(self._dice.choice([1, 1, 2, 4]))]
            try:
                await self._writer.write(batch)
            except Wrong as wrong:
                self.wrong.append(f"{self.name}: {wrong}")
                return

    def _addition(self) -> dict[str, object]:
        mutation_id = UUID(int=self._dice.getrandbits(128), version=4)
        return tally.addition(mutation_id, self._dice.randrange(tally.KEYS), self._dice.randint(1, 1000))


@asynccontextmanager
async def stage() -> AsyncIterator[tuple[Postgres, Server]]:
    """A database that counts, and a server over it that is not started yet."""
    with launched.postgres() as postgres:
        with psycopg.connect(postgres.urls.owner, autocommit=True) as sql:
            tally.install(sql)
        async with launched.zygote(postgres.urls.server) as server:
            yield postgres, server


async def run(
    postgres: Postgres, server: Server, *, seed: int, kills: int, mutant: str | None = None, tell: bool = False
) -> Report:
    """So many kills with senders at work, then one life to the end, then the account."""
    users = [uuid4().hex[:8] for _ in range(_OWNERS)]
    with psycopg.connect(postgres.urls.owner, autocommit=True) as sql:
        for user in users:
            tally.begin(sql, f"user:{user}")
    senders = [Sender(number, users[number % _OWNERS], server.port, seed) for number in range(_SENDERS)]
    report, over = Report(seed), asyncio.Event()
    sending = [asyncio.create_task(sender.run(over)) for sender in senders]
    try:
        await _lives(server, report, random.Random(seed), kills, mutant, sending, tell=tell)
        over.set()
        async with asyncio.timeout(_FINISH_S):
            await asyncio.gather(*sending)
    except TimeoutError:
        report.wrong.append(f"not all was answered after {_FINISH_S} s")
    finally:
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
    await server.kill()
    await asyncio.to_thread(_account, postgres, senders, report)
    return report


async def _lives(
    server: Server,
    report: Report,
    dice: random.Random,
    kills: int,
    mutant: str | None,
    sending: Sequence[asyncio.Task[None]],
    *,
    tell: bool,
) -> None:
    deck: list[Point] = []
    for number in range(1, kills + 1):
        deck = deck or dice.sample(_DECK, len(_DECK))
        kill = Kill(deck.pop(), dice.choice([1, 1, 2, 3]), dice.uniform(0, 0.01))
        await server.start(kill=kill, mutant=mutant)
        gone = asyncio.create_task(server.gone())
        await asyncio.wait({gone, *sending}, return_when=asyncio.FIRST_COMPLETED)
        if not gone.done():  # a sender saw what must not be: enough
            gone.cancel()
            await server.kill()
            break
        gone.result()
        report.kills[kill.point] += 1
        if tell and number % _REPORT_EVERY == 0:
            print(f"{number} kills", flush=True)
    await server.start(mutant=mutant)


def _account(postgres: Postgres, senders: Sequence[Sender], report: Report) -> None:
    owners: dict[str, dict[tally.Name, Sent]] = {}
    for sender in senders:
        mine = owners.setdefault(sender.owner, {})
        mine |= {(sender.name, mutation_id): sent for mutation_id, sent in sender.outbox.sent.items()}
        report.wrong += sender.wrong
    with psycopg.connect(postgres.urls.owner) as sql:
        for owner, sent in owners.items():
            report.wrong += tally.audit(sent, tally.read(sql, owner))
            report.additions += len(sent)
            report.again += sum(one.tries > 1 for one in sent.values())
            report.known += sum(one.new is None for one in sent.values())


async def _run(options: argparse.Namespace) -> bool:
    begun = time.monotonic()
    async with stage() as (postgres, server):
        report = await run(postgres, server, seed=options.seed, kills=options.kills, mutant=options.mutant, tell=True)
        print(f"{report.line()}; {time.monotonic() - begun:.0f} s")
        for wrong in report.wrong[:20]:
            print(f"   {wrong}")
        if report.wrong:
            print(f"   the server's log ends with: {server.logged()[-2000:]}")
    return not report.wrong


def main() -> None:
    """Run; ends with 0 or 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutant", help="kill a server with this mistake (see mutants.py)")
    sys.exit(0 if asyncio.run(_run(parser.parse_args())) else 1)


if __name__ == "__main__":
    main()
