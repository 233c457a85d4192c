"""A very long list stays quick: pages of it anywhere, and all of it fetched for the first time in bounded memory.

A real server process, PostgreSQL with default durability, rows made by SQL with all their triggers. Each walk and each
fetch must have every row once and in order. And as many rows at once, imported. `python tests/bench/large.py`
"""

import asyncio
import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import psycopg

if not __package__:  # run as a program: `tests` and `syncserver` are found from the checkout's root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from syncserver.storage import embedded
from tests.bench import figures, large_import, launched
from tests.bench.figures import Figure, WrongError
from tests.bench.memory import Memory
from tests.harness import UNLIMITED, Program

OWNER, HOME = "user:ada", "00000000-0000-7000-8000-000000000000"
PAGE, FETCHED_PAGE, LISTS = 100, 500, 300
AT_ONCE = 1_000  # rows made in one transaction
MOST_PAGE_MS, MOST_PEAK_MIB = 50.0, 64.0
IMPORTED, IMPORTED_BRIEFLY = 100_000, 20_000
FETCHES = (("socket", 1), ("socket", 4), ("polling", 1), ("polling", 4))  # how, and by how many devices at once
FETCHES_BRIEFLY = FETCHES[:3]


@dataclass(frozen=True)
class Case:
    """Rows of one home: how it is made and they are, where they are listed, and a page of them in SQL.

    `beside`: another list that grows with them, of which the first page is asked for.
    """

    what: str
    resource: str
    count: int
    home: str
    made: str
    lists: str
    beside: str
    page: str


CONVERSATION = Case(
    what="messages",
    resource="messages",
    count=50_000,
    home="""INSERT INTO conversations (owner, id, title, device_id, updated_at)
           SELECT %(owner)s, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'About ' || n, 'tablet',
             timestamptz '2026-01-01Z' + n * interval '1 minute'
           FROM generate_series(0, 999) n""",
    made="""INSERT INTO messages (owner, id, conversation_id, role, content, created_at, device_id, updated_at)
           SELECT %(owner)s, md5(n::text)::uuid, %(home)s, CASE n %% 2 WHEN 0 THEN 'user' ELSE 'assistant' END,
             repeat(md5(n::text) || ' ', 1 + n %% 16), at, 'tablet', at
           FROM generate_series(%(first)s::int, %(last)s::int) n,
             LATERAL (SELECT timestamptz '2026-01-02Z' + n * interval '7 seconds' AS at) t""",
    lists=f"/api/v1/conversations/{HOME}/messages",
    beside="/api/v1/conversations",
    page="""SELECT row_to_json(t) FROM messages t WHERE owner = %s AND conversation_id = %s
            AND (created_at, id) > (timestamptz '2026-01-02Z' + %s * interval '7 seconds', %s)
            ORDER BY created_at, id LIMIT 100""",
)
WORKSPACE = Case(
    what="nodes",
    resource="nodes",
    count=100_000,
    home="INSERT INTO sessions (owner, id, updated_at) VALUES (%(owner)s, %(home)s, '2026-01-01Z')",
    made="""INSERT INTO nodes (owner, id, session_id, title, content, device_id, updated_at)
           SELECT %(owner)s, %(home)s || ':N' || CASE WHEN n < 1000 THEN lpad(n::text, 3, '0') ELSE n::text END,
             %(home)s::uuid, 'Node ' || n, repeat(md5(n::text) || ' ', 1 + n %% 16), 'tablet',
             timestamptz '2026-01-02Z' + n * interval '1 second'
           FROM generate_series(%(first)s::int, %(last)s::int) n""",
    lists=f"/api/v1/sessions/{HOME}/nodes",
    beside="/api/v1/nodes",
    page="""SELECT row_to_json(t) FROM nodes t WHERE owner = %s AND session_id = %s AND (number, id) > (%s, %s)
            ORDER BY number, id LIMIT 100""",
)
CASES = (CONVERSATION, WORKSPACE)


def made(owner_url: str, case: Case) -> float:
    """Seconds that it took to make the rows."""
    began = time.monotonic()
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute(case.home.encode(), {"owner": OWNER, "home": HOME})
        for first in range(1, case.count, AT_ONCE):
            numbers = {"first": first, "last": min(first + AT_ONCE - 1, case.count)}
            connection.execute(case.made.encode(), {"owner": OWNER, "home": HOME, **numbers})
        connection.execute("ANALYZE")  # as it would be a minute later
    return time.monotonic() - began


# -- pages -------------------------------------------------------------------------------------------------------------


async def walked(http: httpx.AsyncClient, case: Case, *, backward: bool) -> list[float]:
    """Milliseconds of each page, by the tokens of the answers: all of them forward, or the last LISTS backward."""
    taken: list[float] = []
    seen: list[str] = []
    asked: dict[str, Any] = {"limit": PAGE, **({"latest": True} if backward else {})}
    while True:
        began = time.perf_counter()
        answer = await http.get(case.lists, params=asked)
        taken.append(1000 * (time.perf_counter() - began))
        page = _page(answer)
        seen += [row["id"] for row in (page["items"][::-1] if backward else page["items"])]
        token = page["previous" if backward else "next"]
        if token is None or (backward and len(taken) == LISTS):
            break
        asked = {"limit": PAGE, "before" if backward else "after": token}
    expected = min(case.count, LISTS * PAGE) if backward else case.count
    if len(seen) != expected or len(set(seen)) != expected:
        raise WrongError("a walk over all pages has not each row once")
    return taken


async def listed(http: httpx.AsyncClient, case: Case) -> list[float]:
    """Milliseconds of the first page of the list beside, again and again."""
    taken = []
    for _ in range(LISTS):
        began = time.perf_counter()
        answer = await http.get(case.beside, params={"limit": PAGE})
        taken.append(1000 * (time.perf_counter() - began))
        _page(answer)
    return taken


def _page(answer: httpx.Response) -> dict[str, Any]:
    page: dict[str, Any] = orjson.loads(answer.content)
    if answer.status_code != httpx.codes.OK or not page["items"]:
        raise WrongError(f"a page was answered with {answer.status_code}")
    return page


def bare(owner_url: str, case: Case) -> list[float]:
    """The baseline of a page: its rows as JSON, straight from the database, here and there in the list."""
    taken = []
    with psycopg.connect(owner_url, autocommit=True) as connection:
        for turn in range(LISTS):
            began = time.perf_counter()
            connection.execute(case.page.encode(), [OWNER, HOME, turn * case.count // LISTS, HOME]).fetchall()
            taken.append(1000 * (time.perf_counter() - began))
    return taken


# -- the first fetch ---------------------------------------------------------------------------------------------------


@dataclass
class Fetched:
    """What one device was sent, from nothing."""

    rows: int = 0
    size: int = 0
    offset: int = 0

    def take(self, text: str | bytes, rows: list[dict[str, Any]]) -> None:
        """A part of it; WrongError where that does not follow the part before."""
        offsets = [self.offset, *(row["offset"] for row in rows)]
        if any(a >= b for a, b in itertools.pairwise(offsets)):
            raise WrongError("rows were fetched out of order")
        self.rows, self.size, self.offset = self.rows + len(rows), self.size + len(text), offsets[-1]


async def by_socket(url: str, token: str, resource: str, name: str) -> Fetched:
    """Subscribe with nothing, and read until everything is there."""
    found = Fetched()
    async with figures.device(url, token, name) as socket:
        await socket.send(orjson.dumps({"type": "subscribe", "resources": [resource], "cursor": None}).decode())
        while True:
            frame = orjson.loads(text := await socket.recv())
            if frame["type"] == "ready":
                return found
            if frame["type"] == "changes":
                found.take(text, frame["rows"])


async def by_poll(url: str, token: str, resource: str, _name: str) -> Fetched:
    """Ask page by page, from nothing."""
    found, asked = Fetched(), {"resources": resource, "limit": str(FETCHED_PAGE)}
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}) as http:
        while True:
            answer = await http.get("/api/v1/changes", params=asked)
            page = orjson.loads(answer.content)
            found.take(answer.content, page["rows"])
            if not page["more"]:
                return found
            asked["cursor"] = page["cursor"]


def streamed(owner_url: str, case: Case) -> float:
    """The baseline of a fetch: rows a second, as JSON, through a cursor of the database."""
    began, count = time.perf_counter(), 0
    with psycopg.connect(owner_url) as connection, connection.cursor("all_of_it") as cursor:
        cursor.execute(f"SELECT row_to_json(t)::text FROM {case.resource} t".encode())
        while rows := cursor.fetchmany(FETCHED_PAGE):
            count += len(rows)
    return count / (time.perf_counter() - began)


async def fetched(program: Program, case: Case, bare_per_s: float, *, brief: bool) -> list[Figure]:
    """The figures of first fetches, by one device and by four at once, over both ways; `brief`: not each of each."""
    token, found = await asyncio.to_thread(program.token, "ada"), []
    for name, devices in FETCHES_BRIEFLY if brief else FETCHES:
        found += await _fetched_by(program, token, case, bare_per_s, (name, devices))
    return found


async def _fetched_by(
    program: Program, token: str, case: Case, bare_per_s: float, fetch: tuple[str, int]
) -> list[Figure]:
    name, devices = fetch
    memory = Memory(program.process.pid if program.process else 0)
    ways: dict[str, Callable[..., Any]] = {"socket": by_socket, "polling": by_poll}
    began = time.perf_counter()
    async with memory.watched():
        names = [f"{name}-{number}" for number in range(devices)]
        got = await asyncio.gather(*(ways[name](program.url, token, case.resource, each) for each in names))
    took_s = time.perf_counter() - began
    if any(one.rows != case.count for one in got):
        raise WrongError("a first fetch has not each row once")
    size_mib = sum(one.size for one in got) / 2**20
    about = f"{case.what}, {name}, {devices} at once"
    print(
        f"first fetch of {about}: {took_s:.1f} s, {size_mib:.0f} MiB sent; memory {memory.idle:.0f} MiB before,"
        f" {memory.peak:.0f} at most, {memory.now():.0f} after",
        file=sys.stderr,
    )
    return [
        Figure(f"rows/s {about}", devices * case.count / took_s, bare_per_s, "a cursor of the database, one reader"),
        _promised(f"peak MiB {about}", memory.peak - memory.idle, MOST_PEAK_MIB, f"{size_mib:.0f} MiB were sent"),
    ]


# -- all of it ---------------------------------------------------------------------------------------------------------


async def _asked(program: Program, case: Case, base: list[float]) -> list[Figure]:
    token = await asyncio.to_thread(program.token, "ada")
    named = "the page in bare SQL, no server"
    async with httpx.AsyncClient(base_url=program.url, headers={"Authorization": f"Bearer {token}"}) as http:
        forward = await walked(http, case, backward=False)
        backward = await walked(http, case, backward=True)
        beside = await listed(http, case)
    third = len(forward) // 3
    parts = {"beginning": forward[:third], "middle": forward[third:-third], "end": [*forward[-third:], *backward]}
    found = []
    walks = {f"of {case.what}, forward": forward, f"of {case.what}, backward": backward, f"of {case.beside}": beside}
    for name, taken in walks.items():
        for of in (0.5, 0.99):
            ours, alone = figures.share(taken, of), figures.share(base, of)
            found.append(Figure(f"ms a page {name}, p{100 * of:.0f}", ours, alone, named))
    beside_it = f"bare SQL {figures.share(base, 0.99):.1f} ms"
    found += [
        _promised(f"ms a page of {case.what}, {name}, p99", figures.share(taken, 0.99), MOST_PAGE_MS, beside_it)
        for name, taken in parts.items()
    ]
    return found


def _promised(name: str, ours: float, most: float, beside_it: str) -> Figure:
    """A figure beside the most that is promised, with the verdict; `beside_it`: what to judge it by."""
    return Figure(name, ours, most, f"promised at most: {'kept' if ours < most else 'NOT KEPT'} ({beside_it})")


def measured(*, brief: bool = False) -> list[Figure]:
    """Every figure, on servers of its own; WrongError if anything was lost, repeated or out of order.

    `brief`: with fewer fetches, and an import of fewer rows.
    """
    folder = Path(tempfile.mkdtemp(prefix="syncserver-bench-"))
    folder.chmod(0o755)  # as root, the database runs as another user
    program = Program(folder)
    found: list[Figure] = []
    imported, bare_s = IMPORTED_BRIEFLY if brief else IMPORTED, 0.0
    try:
        limits = (f"--{name.replace('_', '-')}={most}" for name, most in UNLIMITED.items())
        program.start(*limits, "--log-level=warning")
        owner_url = embedded.EmbeddedPostgres(folder).owner_url
        for case in CASES:
            took_s = made(owner_url, case)
            print(f"{case.count:,} {case.what} made in {took_s:.1f} s", file=sys.stderr)
            found += asyncio.run(_asked(program, case, bare(owner_url, case)))
            found += asyncio.run(fetched(program, case, streamed(owner_url, case), brief=brief))
            bare_s = took_s * imported / case.count
    finally:
        program.end()
        shutil.rmtree(folder, ignore_errors=True)
    return found + asyncio.run(large_import.measured(imported, bare_s))


def main() -> None:
    """Measure and print."""
    try:
        found = measured()
    except (WrongError, launched.Failed) as error:
        sys.exit(f"no figures: {error}")
    print("\n".join(figure.line() for figure in found))


if __name__ == "__main__":
    main()
