"""The product for a measurement: `syncserver serve` as anybody runs it, without limits, in a folder of its own."""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from syncserver.engine import tokens
from syncserver.storage import embedded
from tests.bench import cores
from tests.bench.figures import WrongError
from tests.harness import UNLIMITED, environment

_READY = re.compile(r"syncserver is ready on (http://\S+)")
_SERVE = ("-m", "syncserver", "serve")
_END_S = 30.0
_AGE = "SELECT pg_logical_emit_message(false, 'age', repeat('-', 1000000)) FROM generate_series(1, 400)"


@dataclass
class Product:
    """A server that runs."""

    folder: Path
    url: str
    pid: int
    secret: bytes

    @property
    def port(self) -> int:
        """Where it listens."""
        return urlsplit(self.url).port or 0

    @property
    def postmaster(self) -> int:
        """The process above all of its PostgreSQL's."""
        return int((self.folder / "postgresql" / "data" / "postmaster.pid").read_text().splitlines()[0])

    @property
    def owner_url(self) -> str:
        """Its database, as its owner."""
        return embedded.EmbeddedPostgres(self.folder).owner_url

    def age(self) -> None:
        """Make the files of its database's write-ahead log, as where it has run for a while: they are used again.

        A new one makes them as it goes: each costs 60 ms in which nobody commits, once a second at 10,000 writes/s.
        """
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            connection.execute(_AGE)
            connection.execute("CHECKPOINT")

    @property
    def meter(self) -> cores.Meter:
        """Who looks at what it uses."""
        return cores.Meter(self.pid, self.postmaster)

    def token(self, user: str) -> str:
        """A reader's token, which it has not seen yet."""
        return tokens.mint(self.secret, user, datetime.now(UTC), timedelta(days=1))


@contextmanager
def running(
    program: Sequence[str] = _SERVE, *, flags: Sequence[str] = (), core: int | None = None, **variables: str
) -> Iterator[Product]:
    """A server on a fresh database, as long as this is open. `program`: what Python runs in place of `serve`."""
    folder = Path(tempfile.mkdtemp(prefix="syncserver-bench-"))
    folder.chmod(0o755)  # as root, the database runs as another user
    limits = [f"--{name.replace('_', '-')}={most}" for name, most in UNLIMITED.items()]
    command = [sys.executable, *program, "--data-dir", str(folder), "--port", "0", *limits, *flags]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**environment(), **variables}
        )
    try:
        url = _ready(process, folder)
        cores.pin(process.pid, core)
        yield Product(folder, url, process.pid, (folder / "secret").read_bytes().strip())
        if process.poll() is not None:
            raise WrongError(f"the server ended with {process.returncode}: {_last_words(folder)}")
    finally:
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _ready(process: subprocess.Popen[str], folder: Path) -> str:
    for line in process.stdout or ():
        if found := _READY.search(line):
            return found[1]
    raise WrongError(f"the server did not start: {_last_words(folder)}")


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def _last_words(folder: Path) -> str:
    return " / ".join((folder / "log").read_text(errors="replace").splitlines()[-5:])
