"""A server and a PostgreSQL that a run may kill at any moment: real processes, started again within a blink.

The database is one that comes along, in a folder of the run's own; the server is forked by a zygote. Its port stays
reserved while no server listens, so that nobody else is given it.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Any

import psycopg

from syncserver.storage import embedded
from tests import forge, logs, prototype
from tests.faults.kills import Kill
from tests.harness import Urls, environment

_PATIENCE_S = 30


class Postgres:
    """A private PostgreSQL with a migrated database. What a run adds to it is its own business."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._embedded = embedded.EmbeddedPostgres(folder, binaries=prototype.binaries())
        self.urls = Urls(self._embedded.owner_url, self._embedded.server_url)

    def start(self) -> None:
        """Start it, the first time with an empty database; raises EmbeddedError."""
        if not (self._folder / "postgresql").exists():
            prototype.lay(self._folder)
        self._embedded.start()
        with psycopg.connect(self.urls.owner, autocommit=True) as sql:
            sql.execute(
                "ALTER SYSTEM SET fsync = off"
            )  # what was written outlives a killed process, if not a power cut
            sql.execute("SELECT pg_reload_conf()")

    def stop(self) -> None:
        self._embedded.stop()

    def kill(self) -> None:
        """SIGKILL; its watchdog starts it again."""
        pid = (self._folder / "postgresql" / "data" / "postmaster.pid").read_text().splitlines()[0]
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)

    async def answers(self) -> None:
        """Return when it takes connections (again)."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                with contextlib.suppress(psycopg.OperationalError):
                    await (await psycopg.AsyncConnection.connect(self.urls.owner)).close()
                    return
                await asyncio.sleep(0.02)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """One that runs, in a folder that goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="syncserver-faults-"))
    folder.chmod(0o755)  # as root, the database runs as another user
    try:
        found = Postgres(folder)
        found.start()
        try:
            yield found
        finally:
            found.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """`syncserver serve` over a database, to be started and killed many times on one port."""

    def __init__(self, orders: int, url: str, port: int, settings: dict[str, Any], log: IO[bytes]) -> None:
        self._orders = orders
        self._log = log
        self._url = url
        self._settings = settings
        self._ready = asyncio.Event()
        self._gone = asyncio.Event()
        self._gone.set()
        self.port = port
        self.kills = 0
        self.counts: Path | None = None
        """Where it shall count itself, once a second (see tests/bench/watched.py)."""

    async def start(self, *, kill: Kill | None = None, mutant: str | None = None) -> None:
        """Return when it answers; or when it is gone already, where it was told to die."""
        self._ready.clear()
        self._gone.clear()
        self._order(
            start={
                "url": self._url,
                "port": self.port,
                "settings": self._settings,
                "kill": kill.order() if kill else None,
                "mutant": mutant,
                "counts": str(self.counts) if self.counts else None,
            }
        )
        async with asyncio.timeout(_PATIENCE_S):
            await self._ready.wait()
        if self._gone.is_set() and kill is None:
            raise RuntimeError(f"the server did not start: {self.logged()}")

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self._order(kill=True)
        await self.gone()

    async def gone(self) -> None:
        """Return when the process has ended."""
        async with asyncio.timeout(_PATIENCE_S):
            await self._gone.wait()

    def logged(self) -> str:
        """What it logged since this was last asked."""
        return self._log.read().decode()

    def _order(self, **order: object) -> None:
        os.write(self._orders, json.dumps(order).encode() + b"\n")

    async def hear(self, news: asyncio.StreamReader) -> None:
        """Take the zygote's news until it ends."""
        async for line in news:
            if "ready" in json.loads(line):
                self._ready.set()
            else:
                self.kills += 1
                self._ready.set()  # whoever waits for it need not wait any more
                self._gone.set()


@asynccontextmanager
async def zygote(url: str, **settings: Any) -> AsyncIterator[Server]:
    """A server that is not started yet; whatever runs at the end is killed."""
    with _reserved() as port, _log() as (log, reading):
        ordered, orders = os.pipe()
        heard, told = os.pipe()
        process = forge.start("tests.faults.zygote", (), environment(), (ordered, told, log.fileno()))
        os.close(ordered)
        os.close(told)
        server = Server(orders, url, port, settings, reading)
        async with _read(heard) as news:
            hearing = asyncio.create_task(server.hear(news))
            try:
                yield server
            finally:
                os.close(orders)
                await hearing
                await asyncio.to_thread(process.wait)


@asynccontextmanager
async def _read(pipe: int) -> AsyncIterator[asyncio.StreamReader]:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb")
    )
    try:
        yield reader
    finally:
        transport.close()


@contextmanager
def _log() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """A file to write to and to read from, each at its own place."""
    with tempfile.NamedTemporaryFile() as log, Path(log.name).open("rb") as reading:
        yield log, reading
        logs.keep(Path(log.name))


@contextmanager
def _reserved() -> Iterator[int]:
    """A port that is bound and not listened on: a server may have it (SO_REUSEADDR), nobody else is given it."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
