"""A server of the run's own: another process, real sockets, its own PostgreSQL, in a folder that goes with it."""

import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests import logs
from tests.harness import UNLIMITED

READY = re.compile(r"syncserver is ready on (http://\S+)")
START_S, STOP_S = 60.0, 10.0
WATCHED = Path(__file__).with_name("watched.py")


class Failed(Exception):
    """The server did not start, or did not stop, as it should."""


@dataclass(slots=True)
class Place:
    """Where a server is and what signs its tokens."""

    url: str
    secret: bytes
    stopped_s: float | None = None


class Launched:
    """The process of a server on a data folder, which may be started more than once, on one port.

    `watched`: it counts itself, into the file `samples`. `variables` are of its environment.
    """

    def __init__(self, folder: Path, log: int, variables: Mapping[str, str], *, watched: bool) -> None:
        self.folder = folder
        self.samples = folder / "samples"
        self._log = log
        self._watched = watched
        self._variables = variables
        self._process: asyncio.subprocess.Process | None = None
        self.place: Place

    @property
    def pid(self) -> int:
        """Of the process that serves now."""
        if self._process is None:
            raise Failed("not started")
        return self._process.pid

    async def start(self, port: int = 0) -> None:
        """Return when it serves; Failed if that does not come."""
        program = [str(WATCHED), str(self.samples)] if self._watched else ["-m", "syncserver"]
        ours = {name: value for name, value in os.environ.items() if not name.startswith("SYNCSERVER_")}
        ours |= {f"SYNCSERVER_{name.upper()}": str(most) for name, most in UNLIMITED.items()}
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, *program, "serve", "--port", str(port), "--data-dir", str(self.folder)),
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            env={**ours, **self._variables},
            start_new_session=True,  # Ctrl-C is for the simulation, which ends the server when it has its account
        )
        url = await self._ready(self._process)
        self.place = Place(url, (self.folder / "secret").read_bytes().strip())

    async def restart(self) -> None:
        """End it as an operator would, and start it again on the same port."""
        await self.stop(signal.SIGTERM)
        place = self.place
        await self.start(urlsplit(place.url).port or 0)
        self.place = place

    async def stop(self, number: signal.Signals = signal.SIGINT) -> float:
        """Seconds until it was gone; Failed if it had to be killed, or ended badly."""
        process, begun = self._process, time.monotonic()
        if process is None:
            return 0.0
        if process.returncode is None:
            process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise Failed(f"The server did not stop within {STOP_S:.0f} s.") from None
        if process.returncode != 0:
            raise Failed(f"The server ended with {process.returncode}: {self._last_words()}")
        return time.monotonic() - begun

    async def _ready(self, process: asyncio.subprocess.Process) -> str:
        if process.stdout is None:
            raise Failed("no standard output")
        try:
            async with asyncio.timeout(START_S):
                async for line in process.stdout:
                    if found := READY.search(line.decode()):
                        return found[1]
        except TimeoutError:
            pass
        raise Failed(f"The server did not start: {self._last_words()}")

    def _last_words(self) -> str:
        return " / ".join((self.folder / "log").read_text().splitlines()[-5:])


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="syncserver-readers-"))
    folder.chmod(0o755)  # as root, the database runs as another user
    return folder


@asynccontextmanager
async def running(*, watched: bool = False, **variables: str) -> AsyncIterator[Launched]:
    """Start a server, and stop it as Ctrl-C would; Failed if either does not work."""
    folder = _folder()
    try:
        with (folder / "log").open("w+") as log:
            server = Launched(folder, log.fileno(), variables, watched=watched)
            try:
                await server.start()
                yield server
            finally:
                stopped_s = await server.stop()
            server.place.stopped_s = stopped_s
    finally:
        logs.keep(folder / "log")
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def launched() -> AsyncIterator[Place]:
    """Where a server runs, as long as this is open."""
    async with running() as server:
        yield server.place
