"""An import of very many rows, and what everybody else has of the server meanwhile; a server process of its own.

From outside: how long the event loop stands still is the longest answer of a route that only has to be reached, asked
every few milliseconds; another reader writes, one row after the other.
"""

import asyncio
import contextlib
import csv
import io
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from uuid import uuid4

import httpx
import orjson

from syncserver.app import wiring
from syncserver.engine import tokens
from tests.bench import figures, launched
from tests.bench.figures import Figure, WrongError
from tests.bench.memory import Memory

RELATED = 0.02  # how many of the rows are relationships
WARM_S, QUIET_S, ASK_S, PUT_S, LOOK_S, PATIENCE_S = 1.0, 4.0, 0.01, 0.02, 0.1, 120.0
WARMING, QUIET, SENDING, READING, WRITING = "warming", "quiet", "sending", "reading", "writing"
Files = dict[str, bytes]


def files(rows: int) -> Files:
    """The two files, with so many rows together."""
    related = int(rows * RELATED)
    lines = {"nodes": ["node_id,title,content,metadata"], "relationships": ["from_node,to_node,type,weight"]}
    for n in range(1, rows - related + 1):
        words = (sha256(str(n).encode()).hexdigest()[:32] + " ") * (1 + n % 16)
        lines["nodes"].append(f'N{n:03},Node {n},{words},"{{""place"": {n}}}"')
    lines["relationships"] += [f"N{n:03},N{n + 1:03},leads to,0.5" for n in range(1, related + 1)]
    return {name: "\r\n".join(of).encode() for name, of in lines.items()}


# -- everybody else ----------------------------------------------------------------------------------------------------


@dataclass
class Meanwhile:
    """What others have of the server, in ms, by the phase that is said: `asked` of the loop, `puts` of a reader."""

    phase: str = WARMING
    asked: dict[str, list[float]] = field(default_factory=dict)
    puts: dict[str, list[float]] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def watched(self, url: str, token: str) -> AsyncIterator[None]:
        """Ask and write until left; WrongError where an answer is not as it has to be."""
        headers = {"Authorization": f"Bearer {token}"}
        async with _client(url) as asking, _client(url, headers) as writing:
            tasks = [
                asyncio.create_task(self._again(self.asked, ASK_S, lambda _: asking.get("/healthz"))),
                asyncio.create_task(self._again(self.puts, PUT_S, lambda number: _put(writing, number))),
            ]
            try:
                yield
                for task in tasks:
                    if task.done():
                        task.result()
            finally:
                await figures.ended(tasks)

    async def _again(
        self, taken: dict[str, list[float]], every_s: float, ask: Callable[[int], Awaitable[httpx.Response]]
    ) -> None:
        number = 0
        while True:
            phase, began = self.phase, time.perf_counter()
            answer = await ask(number)
            taken.setdefault(phase, []).append(1000 * (time.perf_counter() - began))
            if not answer.is_success:
                raise WrongError(f"somebody else was answered with {answer.status_code}")
            number += 1
            await asyncio.sleep(every_s)


def _client(url: str, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE_S)


async def _put(http: httpx.AsyncClient, number: int) -> httpx.Response:
    return await http.put(f"/api/v1/progress/book-{number % 50}", json={"data": {"percentage": number % 100 / 100}})


# -- the import --------------------------------------------------------------------------------------------------------


async def _imported(url: str, sent: Files, rows: int, meanwhile: Meanwhile) -> dict[str, float]:
    """Seconds of each phase; WrongError if it does not end with all of it."""
    async with _client(url) as http:
        begun = (await http.post("/api/v1/sessions")).raise_for_status().json()
        http.headers["Authorization"] = f"Bearer {begun['token']}"
        name, place = str(uuid4()), f"/api/v1/sessions/{begun['session_id']}/import"
        began, meanwhile.phase = time.monotonic(), SENDING
        await asyncio.to_thread(_sent, f"{url}{place}", dict(http.headers), name, sent)
        took_s: dict[str, float] = {}
        while True:
            report = orjson.loads((await http.get(f"{place}/{name}")).raise_for_status().content)
            if report["phase"] != meanwhile.phase:
                took_s[meanwhile.phase] = time.monotonic() - began
                began, meanwhile.phase = time.monotonic(), report["phase"]
            if report["state"] != "running":
                break
            await asyncio.sleep(LOOK_S)
    if (report["state"], report["rows_written"]) != ("done", rows):
        raise WrongError(f"an import ended as {report['state']} with {report['rows_written']} rows")
    return took_s


def _sent(place: str, headers: dict[str, str], name: str, sent: Files) -> None:
    """In a thread of its own: to put the files together would keep those waiting who ask."""
    forms = {kind: (f"{kind}.csv", content, "text/csv") for kind, content in sent.items()}
    asked: dict[str, str | int] = {"import_id": name, "wait": 0}
    httpx.post(place, params=asked, headers=headers, files=forms, timeout=PATIENCE_S).raise_for_status()


def _parsed(sent: Files) -> float:
    """The baseline of reading: seconds of nothing but the CSV."""
    began = time.perf_counter()
    for content in sent.values():
        for _ in csv.reader(io.StringIO(content.decode())):
            pass
    return time.perf_counter() - began


async def measured(rows: int, bare_s: float) -> list[Figure]:
    """The figures of an import of so many rows; `bare_s`: seconds of as many, made in SQL with all their triggers."""
    sent, meanwhile = files(rows), Meanwhile()
    async with launched.running() as server:
        other = tokens.mint(server.place.secret, "other", wiring.now(), timedelta(hours=1))
        memory = Memory(server.pid)
        async with meanwhile.watched(server.place.url, other):
            await asyncio.sleep(WARM_S)  # the first answers take longer
            meanwhile.phase = QUIET
            await asyncio.sleep(QUIET_S)
            async with memory.watched():
                took_s = await _imported(server.place.url, sent, rows, meanwhile)
    print(
        f"import of {rows:,} rows: {took_s[SENDING]:.1f} s sending, {took_s[READING]:.1f} s reading,"
        f" {took_s[WRITING]:.1f} s writing; memory {memory.idle:.0f} MiB before, {memory.peak:.0f} at most",
        file=sys.stderr,
    )
    size_mib = sum(map(len, sent.values())) / 2**20
    return [
        Figure(f"s an import of {rows:,} rows, reading", took_s[READING], _parsed(sent), "the CSV alone, in memory"),
        Figure(f"s an import of {rows:,} rows, writing", took_s[WRITING], bare_s, "as many rows in SQL, all triggers"),
        Figure("peak MiB of an import", memory.peak - memory.idle, size_mib, "MiB of its files"),
        *_of_others(meanwhile),
    ]


def _of_others(meanwhile: Meanwhile) -> list[Figure]:
    kinds = [
        ("ms that the loop stood still, longest", meanwhile.asked, 1.0),
        ("ms that the loop stood still, p99", meanwhile.asked, 0.99),
        ("ms a put of another reader, p50", meanwhile.puts, 0.5),
        ("ms a put of another reader, p99", meanwhile.puts, 0.99),
    ]
    return [
        Figure(
            f"{name}, {phase}",
            figures.share(taken[phase], part),
            figures.share(taken[QUIET], part),
            "before the import",
        )
        for name, taken, part in kinds
        for phase in (READING, WRITING)
    ]
