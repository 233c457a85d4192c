"""Reading sessions that save themselves: 200 saves a second of many readers, each seen on the reader's other device.

Saves are sent when their time has come, whether or not the ones before are answered, and measured from that time: a
server that falls behind does not slow its clock. Every save must be acknowledged, in order, and arrive.
"""

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import psycopg
from websockets.asyncio.client import ClientConnection

if not __package__:  # run as a program: `tests` and `syncserver` are found from the checkout's root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from syncserver.engine import tokens
from syncserver.storage import embedded
from tests.bench import figures
from tests.bench.autosave_reader import Reader
from tests.bench.figures import Figure, WrongError
from tests.harness import UNLIMITED, Program, environment

READERS, SAVES_PER_S, SECONDS = 50, 200, 10.0
UPDATES, ALONE = 300, 500
MOST_SAVE_MS, MOST_VALIDATION_MS = 500.0, 100.0
_TIMED = Path(__file__).with_name("autosave_timed.py")


class TimedProgram(Program):
    """A server that notes how long its validations take, into the file `taken`, when it ends."""

    def start(self, *flags: str) -> None:
        """As Program's."""
        command = [sys.executable, str(_TIMED), str(self.folder / "taken"), "serve"]
        self.process = process = subprocess.Popen(
            [*command, "--data-dir", str(self.folder), "--port", "0", *flags],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        if process.stdout is None:
            raise RuntimeError("no standard output")
        self._said = process.stdout
        while said := self._said.readline():
            if "http://127.0.0.1:" in said:
                self.port = int(said.rsplit(":", 1)[1].split("/")[0].split()[0])
                return
        raise RuntimeError("the server did not start")

    def validations(self, name: str, since: float, until: float) -> list[float]:
        """Milliseconds of each between two moments, once it has ended."""
        taken = orjson.loads((self.folder / "taken").read_bytes())
        return [ms for what, at, ms in taken if what == name and since <= at <= until]


async def _writes(socket: ClientConnection, reader: Reader) -> None:
    while True:
        frame = orjson.loads(await socket.recv())
        if frame["type"] == "ack":
            reader.answer(frame["acks"])


async def _follows(socket: ClientConnection, reader: Reader) -> None:
    while True:
        frame = orjson.loads(await socket.recv())
        if frame["type"] == "changes":
            reader.see(frame["rows"])


async def _subscribed(socket: ClientConnection) -> None:
    await socket.send('{"type": "subscribe", "resources": ["reading_sessions"], "cursor": null}')
    while orjson.loads(await socket.recv())["type"] != "ready":
        pass


async def saves(url: str, readers: list[Reader]) -> None:
    """Save for SECONDS, and wait until everything has arrived; WrongError if something does not."""
    async with contextlib.AsyncExitStack() as stack:
        sockets, tasks = [], []
        for reader in readers:
            writer = await stack.enter_async_context(figures.device(url, reader.token, "phone"))
            other = await stack.enter_async_context(figures.device(url, reader.token, "tablet"))
            (begun,) = await figures.pushed(writer, [reader.begun()])
            reader.offset = begun["offset"]
            await _subscribed(writer)
            await _subscribed(other)
            sockets.append(writer)
            tasks += [asyncio.create_task(_writes(writer, reader)), asyncio.create_task(_follows(other, reader))]
        began = time.monotonic()
        for number in range(int(SECONDS * SAVES_PER_S)):
            due = began + number / SAVES_PER_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            frame = {"type": "push", "mutations": [readers[number % len(readers)].save(due)]}
            await sockets[number % len(readers)].send(orjson.dumps(frame).decode())
        await figures.until(lambda: all(reader.done for reader in readers), tasks)
        await figures.ended(tasks)


async def updates(url: str, reader: Reader) -> list[float]:
    """Milliseconds of updates over REST, one after the other, each with the version that it knows."""
    taken, etag = [], f'"{reader.offset}"'
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {reader.token}"}) as http:
        for turn in range(UPDATES):
            body = {"percentage": 0.5 + turn / 10_000, "state": {"turn": turn}, "device_id": "phone"}
            began = time.monotonic()
            place = f"{url}/api/v1/reading-sessions/{reader.session_id}"
            answer = await http.patch(place, json=body, headers={"If-Match": etag})
            taken.append(1000 * (time.monotonic() - began))
            if answer.status_code != httpx.codes.OK:
                raise WrongError(f"an update was answered with {answer.status_code}")
            etag = answer.headers["ETag"]
    return taken


def alone(owner_url: str) -> list[float]:
    """The baseline: the same change of one row in a transaction, one after the other, no server."""
    taken = []
    with psycopg.connect(owner_url, autocommit=True) as connection:
        for turn in range(ALONE):
            began = time.monotonic()
            connection.execute(
                "UPDATE reading_sessions SET percentage = 0.7, state = state || jsonb_build_object('turn', %s::int)"
                " WHERE (owner, id) = (SELECT owner, id FROM reading_sessions ORDER BY owner LIMIT 1)",
                [turn + 1_000_000],
            )
            taken.append(1000 * (time.monotonic() - began))
    return taken


def read_as_json(row: dict[str, Any]) -> list[float]:
    """The baseline of a validation: the row's JSON read and written, and nothing understood."""
    taken, text = [], orjson.dumps(row)
    for _ in range(ALONE):
        began = time.perf_counter()
        orjson.dumps(orjson.loads(text))
        taken.append(1000 * (time.perf_counter() - began))
    return taken


def measured() -> list[Figure]:
    """Every figure of a run on a server of its own; WrongError if anything was lost, repeated or out of order."""
    folder = Path(tempfile.mkdtemp(prefix="syncserver-bench-"))
    folder.chmod(0o755)  # as root, the database runs as another user
    program = TimedProgram(folder)
    try:
        program.start(*(f"--{name.replace('_', '-')}={most}" for name, most in UNLIMITED.items()))
        return _measured(program)
    finally:
        program.end()
        shutil.rmtree(folder, ignore_errors=True)


def _measured(program: TimedProgram) -> list[Figure]:
    secret = (program.folder / "secret").read_bytes().strip()
    now, ttl = datetime.now(UTC), timedelta(hours=1)
    readers = [Reader(tokens.mint(secret, f"reader-{number}", now, ttl)) for number in range(READERS)]
    began = time.monotonic()
    asyncio.run(saves(program.url, readers))
    saved = time.monotonic()
    rest = asyncio.run(updates(program.url, readers[0]))
    updated = time.monotonic()
    base = alone(embedded.EmbeddedPostgres(program.folder).owner_url)
    program.end()
    acked = [ms for reader in readers for ms in reader.acked_ms]
    seen = [ms for reader in readers for ms in reader.seen_ms]
    if len(acked) != SECONDS * SAVES_PER_S or len(seen) != len(acked):
        raise WrongError("saves were lost or repeated")
    json_us = 1000 * figures.share(read_as_json(readers[0].begun()), 0.99)
    validation_ms = _validation(program, began, saved)
    of_rest_ms = _validation(program, saved, updated)
    promise = "what is promised: less than 1.00 keeps it"
    return [
        *_shares(f"ms from save to ack, {SAVES_PER_S} a second", acked, base, "one UPDATE of the row, no server"),
        Figure("the same, p99", figures.share(acked, 0.99), MOST_SAVE_MS, promise),
        *_shares("ms from save to the other device", seen, acked, "save to ack"),
        *_shares("ms of an update over REST, one by one", rest, base, "one UPDATE of the row, no server"),
        Figure("us of the validation of a save, p99", 1000 * validation_ms, json_us, "its JSON read and written"),
        Figure("us of the validation over REST, p99", 1000 * of_rest_ms, json_us, "its JSON read and written"),
        Figure("ms of the validation of a save, p99", validation_ms, MOST_VALIDATION_MS, promise),
    ]


def _shares(name: str, ours: list[float], baseline: list[float], baseline_name: str) -> list[Figure]:
    return [
        Figure(f"{name}, p{part:.0%}"[:-1], figures.share(ours, part), figures.share(baseline, part), baseline_name)
        for part in (0.5, 0.99)
    ]


def _validation(program: TimedProgram, since: float, until: float) -> float:
    """Of the mutation and of its fields, which is what a save meets."""
    return sum(figures.share(program.validations(name, since, until), 0.99) for name in ("read", "validated"))


def main() -> None:
    """Measure and print."""
    try:
        found = measured()
    except WrongError as error:
        sys.exit(f"no figures: {error}")
    print("\n".join(figure.line() for figure in found))


if __name__ == "__main__":
    main()
