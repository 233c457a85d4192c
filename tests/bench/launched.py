"""A server of the run's own: another process, real sockets, its own PostgreSQL, in a folder that goes with it."""

import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

READY = re.compile(r"syncserver is ready on (http://\S+)")
START_S, STOP_S = 60.0, 10.0


class Failed(Exception):
    """The server did not start, or did not stop, as it should."""


@dataclass(slots=True)
class Place:
    """Where a server is and what signs its tokens."""

    url: str
    secret: bytes
    stopped_s: float | None = None


@asynccontextmanager
async def launched() -> AsyncIterator[Place]:
    """Start a server, and stop it as Ctrl-C would; Failed if either does not work."""
    folder = _folder()
    try:
        with (folder / "log").open("w+") as log:
            process = await _process(folder, log.fileno())
            try:
                place = Place(await _ready(process, folder), (folder / "secret").read_bytes().strip())
                yield place
            finally:
                stopped_s = await _stopped(process)
            place.stopped_s = stopped_s
            if process.returncode != 0:
                raise Failed(f"The server ended with {process.returncode}: {_last_words(folder)}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="syncserver-readers-"))
    folder.chmod(0o755)  # as root, the database runs as another user
    return folder


async def _process(folder: Path, log: int) -> asyncio.subprocess.Process:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SYNCSERVER_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "syncserver", "serve", "--port", "0", "--data-dir", str(folder)),
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        env=ours,
        start_new_session=True,  # Ctrl-C is for the simulation, which ends the server when it has its account
    )


async def _ready(process: asyncio.subprocess.Process, folder: Path) -> str:
    if process.stdout is None:
        raise Failed("no standard output")
    try:
        async with asyncio.timeout(START_S):
            async for line in process.stdout:
                if found := READY.search(line.decode()):
                    return found[1]
    except TimeoutError:
        pass
    raise Failed(f"The server did not start: {_last_words(folder)}")


async def _stopped(process: asyncio.subprocess.Process) -> float:
    """Seconds until it was gone; Failed if it had to be killed."""
    begun = time.monotonic()
    if process.returncode is None:
        process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Failed(f"The server did not stop within {STOP_S:.0f} s.") from None
    return time.monotonic() - begun


def _last_words(folder: Path) -> str:
    return " / ".join((folder / "log").read_text().splitlines()[-5:])
