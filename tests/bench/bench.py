"""`make bench`: what the whole product does, each figure beside a baseline taken in the same run, as a ratio.

Real server processes, real sockets, PostgreSQL with default durability. Order and loss are checked in the same run; a
run with any is a failure and not a figure. Read the ratios: absolutes belong to the machine.
"""

import argparse
import asyncio
import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import psycopg
import websockets
from websockets.asyncio.client import ClientConnection

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from syncserver.storage import embedded  # noqa: E402 - after the path to this checkout
from tests.bench import autosave, large  # noqa: E402
from tests.bench.figures import Figure, WrongError, device, ended, pushed, until  # noqa: E402
from tests.harness import UNLIMITED, Program, free_port  # noqa: E402

WRITERS = 4
IN_A_PUSH = 50
SUBSCRIBERS = 100
DELAY_PAUSE_S = 0.02


def mutation(key: str) -> dict[str, Any]:
    return {
        "mutation_id": str(uuid4()),
        "resource": "progress",
        "key": key,
        "op": "put",
        "data": {
            "percentage": 0.5,
            "position": "/body/DocFragment[12]/body/p[48]/text().112",
            "position_kind": "xpointer",
        },
    }


async def writes(url: str, token: str, seconds: float) -> float:
    """Acknowledged, durable mutations a second, from several devices of one reader, each write a new row."""
    offsets: list[int] = []
    run = uuid4()

    async def write(number: int) -> None:
        async with device(url, token, f"writer-{number}") as socket:
            turn = 0
            while time.monotonic() < end:
                acks = await pushed(socket, [mutation(f"{run}-{number}-{turn}-{n}") for n in range(IN_A_PUSH)])
                offsets.extend(ack["offset"] for ack in acks if ack["status"] == "applied")
                turn += 1

    end = time.monotonic() + seconds
    await asyncio.gather(*(write(number) for number in range(WRITERS)))
    if len(set(offsets)) != len(offsets) or max(offsets) - min(offsets) + 1 != len(offsets):
        raise WrongError("offsets have gaps or repeats")
    return len(offsets) / seconds


def single_rows(owner_url: str, seconds: float) -> float:
    """The baseline of writes: one row a transaction, over one connection, with the same triggers."""
    done, owner = 0, f"user:{uuid4()}"
    with psycopg.connect(owner_url, autocommit=True) as connection:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection.execute(
                "INSERT INTO reading_progress (owner, publication_id, percentage) VALUES (%s, %s, 0.5)",
                [owner, str(done)],
            )
            done += 1
    return done / seconds


class Follower:
    """A socket that counts rows and sees that each frame follows the one before."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._cursor = ""
        self.rows = 0
        self.arrived: dict[str, float] = {}

    async def ready(self) -> None:
        await self._socket.send('{"type": "subscribe", "cursor": null}')
        while (frame := orjson.loads(await self._socket.recv()))["type"] != "ready":
            pass
        self._cursor = frame["cursor"]

    async def follow(self) -> None:
        while True:
            frame = orjson.loads(await self._socket.recv())
            if frame["type"] != "changes":
                continue
            if frame["from"] != self._cursor:
                raise WrongError("a frame does not follow the one before")
            self._cursor = frame["to"]
            self.rows += len(frame["rows"])
            now = time.monotonic()
            self.arrived.update((row["mutation_id"], now) for row in frame["rows"])


async def fan_out(url: str, token: str, seconds: float) -> float:
    """Deliveries a second from one writer to many devices of one reader, through the database."""
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(device(url, token, f"f-{n}")) for n in range(SUBSCRIBERS)]
        followers = [Follower(socket) for socket in sockets]
        await asyncio.gather(*(follower.ready() for follower in followers))
        tasks = [asyncio.create_task(follower.follow()) for follower in followers]
        writer = await stack.enter_async_context(device(url, token, "writer"))
        began, sent = time.monotonic(), 0
        while time.monotonic() < began + seconds:
            sent += len(await pushed(writer, [mutation(f"hot-{sent + n}") for n in range(10)]))
        await until(lambda: all(follower.rows >= sent for follower in followers), tasks)
        took = time.monotonic() - began
        await ended(tasks)
        if any(follower.rows != sent for follower in followers):
            raise WrongError("rows were repeated")
        return sent * SUBSCRIBERS / took


async def relayed(url: str, seconds: float) -> float:
    """The same through the plain relay, a message for each row, without a database."""
    message = orjson.dumps({"type": "changes", "rows": [mutation("hot")], "from": "x" * 26, "to": "x" * 26}).decode()
    async with contextlib.AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(websockets.connect(url, compression=None)) for _ in range(SUBSCRIBERS)
        ]
        counts = [0] * SUBSCRIBERS

        async def follow(number: int) -> None:
            while True:
                orjson.loads(await sockets[number].recv())
                counts[number] += 1

        tasks = [asyncio.create_task(follow(number)) for number in range(SUBSCRIBERS)]
        began, sent = time.monotonic(), 0
        while time.monotonic() < began + seconds:
            for _ in range(10):
                await sockets[0].send(message)
            sent += 10
            await until(partial(_reached, counts, 0, sent), tasks)
        await until(lambda: min(counts) >= sent, tasks)
        took = time.monotonic() - began
        await ended(tasks)
        return sent * SUBSCRIBERS / took


async def delays(url: str, token: str, seconds: float) -> list[float]:
    """Milliseconds from sending a write on one device to seeing it on another."""
    async with device(url, token, "d-writer") as writer, device(url, token, "d-follower") as socket:
        follower = Follower(socket)
        await follower.ready()
        task = asyncio.create_task(follower.follow())
        sent: dict[str, float] = {}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            one = mutation(f"delay-{len(sent)}")
            sent[one["mutation_id"]] = time.monotonic()
            await pushed(writer, [one])
            await asyncio.sleep(DELAY_PAUSE_S)
        await until(lambda: len(follower.arrived) >= len(sent), [task])
        await ended([task])
        return sorted(1000 * (follower.arrived[name] - at) for name, at in sent.items())


def _reached(counts: list[int], number: int, sent: int) -> bool:
    return counts[number] >= sent


async def median(turns: int, measure: Callable[[], Awaitable[float]]) -> float:
    return statistics.median([await measure() for _ in range(turns)])


async def measured(program: Program, relay_url: str, turns: int, seconds: float) -> list[Figure]:
    """Every figure, ours and its baseline one after the other."""
    owner_url = embedded.EmbeddedPostgres(program.folder).owner_url
    token = await asyncio.to_thread(program.token, "bench")

    async def baseline_writes() -> float:
        return await asyncio.to_thread(single_rows, owner_url, seconds)

    found = [
        Figure(
            "acknowledged writes a second",
            await median(turns, lambda: writes(program.url, token, seconds)),
            await median(turns, baseline_writes),
            "one row a transaction, the same triggers, no server",
        ),
        Figure(
            f"deliveries a second to {SUBSCRIBERS} devices",
            await median(turns, lambda: fan_out(program.url, token, seconds)),
            await median(turns, lambda: relayed(relay_url, seconds)),
            "plain Starlette send_text relay, no database",
        ),
    ]
    took = await delays(program.url, token, seconds)
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    found.append(Figure("ms from write to other device, p50", p50, p50, "itself"))
    found.append(Figure("ms from write to other device, p99", p99, p50, "its p50"))
    return found


def main() -> None:
    """Measure, print a table (or JSON), end with 1 if anything was lost, repeated or out of order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="medians of how many (default 3)")
    parser.add_argument("--seconds", type=float, default=3, help="how long each turn takes (default 3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="syncserver-bench-"))
    folder.chmod(0o755)  # as root, the database runs as another user
    program, port = Program(folder), free_port()
    relay = subprocess.Popen([sys.executable, str(Path(__file__).parent / "relay.py"), str(port)])
    try:
        program.start(*(f"--{name.replace('_', '-')}={most}" for name, most in UNLIMITED.items()))
        found = asyncio.run(measured(program, f"ws://127.0.0.1:{port}/", options.turns, options.seconds))
        program.end()
        found += [*autosave.measured(), *large.measured(brief=True)]
    except WrongError as error:
        sys.exit(f"no figures: {error}")
    finally:
        relay.terminate()
        relay.wait()
        program.end()
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(orjson.dumps([figure.__dict__ for figure in found]).decode())
        return
    print(f"{'':<44} {'ours':>10} {'baseline':>10} {'ratio':>7}")
    print("\n".join(figure.line() for figure in found))


if __name__ == "__main__":
    main()
