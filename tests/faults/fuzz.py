"""Rubbish for a server: malformed frames and requests by the thousand, while good clients notice nothing of it.

`python tests/faults/fuzz.py --count 100000 --seed 1`. During the rounds and after each the server has to be ready and
carry a write from one device to another; it may hold no more memory, files, tasks and connections than before, and have
written nothing that it did not acknowledge. Ends with 1 when anything is wrong, and tells which bytes it came from.
"""

import argparse
import asyncio
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import psycopg

if not __package__:  # run as a program: `tests` is found from the checkout's root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.faults import footprint, launched, pulse, rawhttp
from tests.faults.breaking import CANARY
from tests.faults.footprint import Counted, Footprint
from tests.faults.fuzzers import HttpFuzzer, SocketFuzzer, sent_all
from tests.faults.judged import TOKEN, Account, Judge, unacknowledged
from tests.faults.launched import Server
from tests.faults.malformed_frames import Known, largest_messages, messages
from tests.faults.malformed_requests import largest_requests, requests
from tests.faults.valid_requests import Routes
from tests.harness import Urls, token

_NO_LIMIT = (
    *("sockets_per_owner", "streams_per_owner", "connections_per_address", "frames_per_s", "mutations_per_s"),
    *("requests_per_s", "tickets_per_minute", "wrong_keys_per_minute", "sessions_per_minute"),
)
SETTINGS = {**dict.fromkeys(_NO_LIMIT, 0), "handshake_s": 1.0, "body_s": 1.0, "log_level": "info"}
_CONNECTIONS = 20  # the server's pool, its listener, its readers, and one to spare for each of its works
_ROUNDS, _SHORT = 5, 5_000
_CLIENTS = 24
_REST_S = 30.0
_FAULT = re.compile(r"^\S+ \S+ (?:ERROR|CRITICAL).*|^Traceback.*|^[\w.]+(?:Error|Exception)\b.*", re.MULTILINE)


@dataclass
class Report:
    """What became of a run."""

    seed: int
    sent: int = 0
    seconds: float = 0
    pulses: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    footprints: list[Footprint] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The run in a line."""
        return (
            f"fuzz, seed {self.seed}: {self.sent} malformed frames and requests in {self.seconds:.0f} s, "
            f"{self.pulses} writes carried meanwhile; wrong: {len(self.wrong)}"
        )


class Client:
    """One that sends rubbish, as an owner of its own: over sockets or HTTP, as a reader or a visitor."""

    def __init__(self, port: int, seed: int, number: int, account: Account, known: Known, routes: Routes) -> None:
        dice = random.Random(f"{seed} {number}")
        self.judge = Judge(known.token, account)
        self._known = known
        self.fuzzer: SocketFuzzer | HttpFuzzer
        self._cases: Iterator[Any]
        if number % 2:
            self.fuzzer, self._cases = SocketFuzzer(port, self.judge, known), messages(dice, known)
        else:
            self.fuzzer, self._cases = HttpFuzzer(port, self.judge), requests(dice, routes, known)

    async def send_largest(self) -> None:
        """One of each kind that is as large as anything may be, and larger."""
        largest = (
            largest_messages(self._known) if isinstance(self.fuzzer, SocketFuzzer) else largest_requests(self._known)
        )
        await sent_all(self.fuzzer, iter(largest), self.judge, len(largest))

    async def send(self, count: int) -> None:
        """So many of its cases."""
        await sent_all(self.fuzzer, self._cases, self.judge, count)


class Fuzz:
    """One run against a server that serves."""

    def __init__(self, urls: Urls, server: Server, counted: Counted, seed: int) -> None:
        self._urls = urls
        self._server = server
        self._counted = counted
        self._clients: list[Client] = []
        self.report = Report(seed)

    async def run(self, count: int, *, tell: bool = False) -> Report:
        """So many malformed messages in rounds, each followed by a look at everything."""
        report, begun = self.report, time.monotonic()
        document = (await rawhttp.ask(self._server.port, "GET", "/api/openapi.json", {})).body
        for number in range(_CLIENTS):
            self._clients.append(await self._client(number, Routes(orjson.loads(document))))
        await pulse.beat(self._server.port)
        idle = await self._counted.look()
        async with asyncio.TaskGroup() as group:  # the largest first: what follows needs no more memory than that
            for client in self._clients:
                group.create_task(client.send_largest())
        rounds = _ROUNDS if count > _SHORT else 2
        for number in range(rounds):
            await self._round(_share(count, number, rounds), idle)
            report.seconds = time.monotonic() - begun
            if tell:
                print(f"   {report.sent} sent: {report.footprints[-1].line()}", flush=True)
        report.wrong += footprint.growth(report.footprints[0], report.footprints[-1], _CONNECTIONS)
        report.wrong += await asyncio.to_thread(self._unacknowledged)
        for client in self._clients:
            report.seen += client.judge.seen
        return report

    async def _client(self, number: int, routes: Routes) -> Client:
        """Every third is a visitor."""
        port, name = self._server.port, f"fuzz-{number}"
        account, known = Account(f"user:{name}"), Known(token(name))
        if number % 3 == 0:
            begun = orjson.loads((await rawhttp.ask(port, "POST", "/api/v1/sessions", {})).body)
            known.token, known.session = begun["token"], begun["session_id"]
            account.owner = f"session:{UUID(known.session)}"
        return Client(port, self.report.seed, number, account, known, routes)

    async def _round(self, count: int, idle: Footprint) -> None:
        over = asyncio.Event()
        beating = asyncio.create_task(self._beat_until(over))
        sending = [client.send(_share(count, number, _CLIENTS)) for number, client in enumerate(self._clients)]
        try:
            async with asyncio.TaskGroup() as group:
                for one in sending:
                    group.create_task(one)
        finally:
            over.set()
            await beating
        self.report.sent += count
        footprints = self.report.footprints
        footprints.append(await self._counted.at_rest(idle, _REST_S))
        self.report.wrong += footprints[-1].left_of(idle)
        self._told()

    async def _beat_until(self, over: asyncio.Event) -> None:
        """The server serves all the while, and once after it."""
        while True:
            last = over.is_set()
            try:
                await pulse.beat(self._server.port)
                self.report.pulses += 1
            except (OSError, EOFError, AssertionError, TimeoutError) as error:
                self.report.wrong.append(f"good clients were not served: {error!r}")
                last = True
            if last:
                return

    def _told(self) -> None:
        """What the clients saw, and what the server logged since the last look."""
        for client in self._clients:
            self.report.wrong += client.judge.wrong
            client.judge.wrong.clear()
        logged = self._server.logged()
        self.report.wrong += [f"the server logged: {line[:300]}" for line in _FAULT.findall(logged)]
        said = [line for line in logged.splitlines() if CANARY in line or TOKEN.search(line.encode())]
        self.report.wrong += [f"the log repeats what was sent: {line[:300]}" for line in said]

    def _unacknowledged(self) -> list[str]:
        with psycopg.connect(self._urls.owner) as sql:
            return [wrong for client in self._clients for wrong in unacknowledged(sql, client.judge.account)]


def _share(count: int, number: int, parts: int) -> int:
    """How much of `count` falls to a part."""
    return count * (number + 1) // parts - count * number // parts


async def _connections(urls: Urls) -> int:
    """The server's to its database."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename <> current_user"
    async with await psycopg.AsyncConnection.connect(urls.owner) as sql:
        row = await (await sql.execute(query)).fetchone()
    return int(row[0]) if row else 0


@asynccontextmanager
async def stage(urls: Urls, seed: int, mutant: str | None = None) -> AsyncIterator[Fuzz]:
    """A run before its beginning: a server that serves, counted, over a database that is its alone."""
    with tempfile.TemporaryDirectory(prefix="syncserver-fuzz-") as folder:
        async with launched.zygote(urls.server, **SETTINGS) as server:
            server.counts = Path(folder) / "counts"
            await server.start(mutant=mutant)
            yield Fuzz(urls, server, Counted(server.counts, partial(_connections, urls)), seed)


async def run(urls: Urls, seed: int, count: int, *, mutant: str | None = None, tell: bool = False) -> Report:
    """One run on a stage of its own."""
    async with stage(urls, seed, mutant) as fuzz:
        return await fuzz.run(count, tell=tell)


def _show(report: Report) -> None:
    print(report.line())
    print("   " + ", ".join(f"{what}: {times}" for what, times in report.seen.most_common()))
    kinds = Counter(_kind(wrong) for wrong in report.wrong)
    for kind, times in kinds.most_common():
        print(f"   {times} times: {next(wrong for wrong in report.wrong if _kind(wrong) == kind)}")


def _kind(wrong: str) -> str:
    """The same for what is wrong in the same way."""
    return re.sub(r"\d+", "", wrong.split(" (", 1)[0])[:120]


def main() -> None:
    """Run; ends with 0 or 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutant", help="a server with this mistake (see mutants.py)")
    options = parser.parse_args()
    with launched.postgres() as postgres:
        report = asyncio.run(run(postgres.urls, options.seed, options.count, mutant=options.mutant, tell=True))
    _show(report)
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
