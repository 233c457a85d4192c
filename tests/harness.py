"""What tests share that is not a fixture: a test's database, its server, its tokens."""

import io
import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Any
from unittest import mock

import psycopg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.app import wiring
from syncserver.engine import tokens
from syncserver.storage import trip
from syncserver.storage.database import Database
from syncserver.storage.trip import Ask
from tests import forge, logs

SECRET = b"a secret for tests, long enough for any algorithm there is"
_PATIENCE_S = 60


UNLIMITED: dict[str, int] = dict.fromkeys(
    (
        "sockets_per_owner",
        "streams_per_owner",
        "connections_per_address",
        "frames_per_s",
        "mutations_per_s",
        "requests_per_s",
        "tickets_per_minute",
        "wrong_keys_per_minute",
        "sessions_per_minute",
    ),
    0,
)
"""Settings of a server that is flooded on purpose."""


@dataclass(frozen=True)
class Urls:
    """One test's database: as its owner, and as the role of the server."""

    owner: str
    server: str


def token(user: str, ttl: timedelta = timedelta(hours=1)) -> str:
    """A bearer token that the test servers accept."""
    return tokens.mint(SECRET, user, wiring.now(), ttl)


@dataclass
class Live:
    """A server on a real socket, in the test's own loop."""

    parts: wiring.Parts
    url: str
    port: int

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/api/v1/socket"

    def headers(self, user: str = "ada") -> dict[str, str]:
        return {"Authorization": f"Bearer {token(user)}"}


Serving = Callable[..., AbstractAsyncContextManager[Live]]


@dataclass
class Program:
    """`syncserver serve` as a process of its own, with its own data folder and database."""

    folder: Path
    port: int = 0
    process: forge.Forged | subprocess.Popen[str] | None = None
    _said: IO[str] = field(default_factory=io.StringIO)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *flags: str) -> None:
        """Start it and wait until it says that it is ready; on the same port as before."""
        folder, port = str(self.folder), str(self.port)
        heard, out = os.pipe()
        with Path(os.devnull).open() as nothing, logs.file() or os.fdopen(os.dup(2), "wb") as log, os.fdopen(out):
            arguments = ("serve", "--data-dir", folder, "--port", port, *flags)
            variables = {**environment(), "SYNCSERVER_LOG_LEVEL": "debug"}
            self.process = forge.start("syncserver", arguments, variables, (nothing.fileno(), out, log.fileno()))
        self._said = os.fdopen(heard)
        said = self._said.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", said)
        if not found:
            raise RuntimeError(f"the server did not start: {said!r}")
        self.port = int(found[1])

    def end(self, number: int = signal.SIGINT) -> int:
        """Send it a signal and wait for its end; its exit status."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            return process.wait(20)
        finally:
            process.kill()
            process.wait()
            self._said.close()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command of the command line on the same data folder."""
        return command(*arguments, SYNCSERVER_DATA_DIR=str(self.folder), SYNCSERVER_URL=self.url)

    def token(self, user: str) -> str:
        """A token of this server's own."""
        return self.run("token", "--user", user).stdout.strip()

    def postmaster(self) -> int:
        """The process id of its PostgreSQL."""
        return int((self.folder / "postgresql" / "data" / "postmaster.pid").read_text().splitlines()[0])


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command of the command line, run to its end."""
    with Path(os.devnull).open() as nothing, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        streams = nothing.fileno(), out.fileno(), err.fileno()
        process = forge.start("syncserver", arguments, {**environment(), **variables}, streams)
        try:
            status = process.wait(_PATIENCE_S)
        finally:
            process.kill()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(arguments, status, out.read(), err.read())


def environment() -> dict[str, str]:
    """The environment of a program under test: this one's, without what would change it (make's own flags too)."""
    ours = ("SYNCSERVER_", "MAKE", "MFLAGS", "ARGS")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    named = os.environ.get("SYNCSERVER_TEST_POSTGRES_BIN")
    return {**inherited, **({"SYNCSERVER_POSTGRES_BIN": named} if named else {})}


def until_locked_out(sql: psycopg.Connection, query: str) -> None:
    """Wait until somebody whose statement is like `query` waits for a lock."""
    waiting = (
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() AND query LIKE %s"
    )
    while not sql.execute(waiting, [query]).rowcount:
        pass


@contextmanager
def asked_of(database: Database) -> Iterator[list[str]]:
    """The statements that go to the database by way of this pool meanwhile, those of round trips among them."""
    asked: list[str] = []
    own, go = {id(engine) for engine in database.engines}, trip.go

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    async def noted(connection: AsyncConnection, *asks: Ask[Any], commit: bool = False) -> list[Any]:
        if id(connection.engine) in own:
            asked.extend(ask.statement.text for ask in asks)
        return await go(connection, *asks, commit=commit)

    for engine in database.engines:
        sa.event.listen(engine.sync_engine, "before_cursor_execute", note)
    with mock.patch.object(trip, "go", noted):
        yield asked
    for engine in database.engines:
        sa.event.remove(engine.sync_engine, "before_cursor_execute", note)
