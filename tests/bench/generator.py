"""The load generator, written in C: compiled on demand into `.bench/`, run with options, heard line by line.

A generator in Python is the bottleneck long before the server is; so without a compiler there are no figures.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench import cores
from tests.bench.figures import WrongError

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".bench"
SOURCES = Path(__file__).parent / "load"
_SHARED = ("measure.c", "poller.c", "frames.c")
_PROGRAMS: dict[str, Sequence[str]] = {
    "load": ("main.c", "options.c", "changes.c", "sockets.c", "arrive.c", "fan.c", "polls.c", "writes.c", *_SHARED),
    "ceiling": ("ceiling.c", *_SHARED),
    "slow_disk.so": ("slow_disk.c",),
}
_LIBRARY = ("-shared", "-fPIC", "-ldl")

Option = str | float | Path


class NoCompilerError(Exception):
    """There is nothing to compile the generator with."""


def built(name: str) -> Path:
    """A program (or library) of SOURCES, compiled if it was not yet; NoCompilerError, WrongError."""
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        raise NoCompilerError("The load generator is written in C, and there is no compiler: install gcc or clang.")
    sources = [SOURCES / source for source in _PROGRAMS[name]]
    seen = hashlib.sha256(b"".join(path.read_bytes() for path in [*sources, SOURCES / "load.h"]))
    program = CACHE / f"{seen.hexdigest()[:12]}-{name}"
    if not program.exists():
        CACHE.mkdir(exist_ok=True)
        fresh = program.with_suffix(f".{os.getpid()}")
        more = _LIBRARY if name.endswith(".so") else ()
        command = [compiler, "-O2", "-std=gnu11", "-Wall", "-Wextra", "-o", fresh, *sources, *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise WrongError(f"the generator does not compile:\n{done.stderr}")
        fresh.rename(program)
    return program


class Generator:
    """A run of the generator: `lines` are what it says; WrongError with its sentence where it saw something wrong."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def lines(self) -> Iterator[dict[str, Any]]:
        """As they come, to the end."""
        while (line := self.line()) is not None:
            yield line
        if self.process.wait() != 0:
            raise WrongError(f"the generator ended with {self.process.returncode}")

    def line(self) -> dict[str, Any] | None:
        """The next one; None at the end."""
        text = self.process.stdout.readline() if self.process.stdout else ""
        if not text:
            return None
        line: dict[str, Any] = json.loads(text)
        if "wrong" in line:
            raise WrongError(line["wrong"])
        return line


@contextmanager
def running(mode: str, *, core: int | None = None, **options: Option) -> Iterator[Generator]:
    """A generator in one of its modes, which is ended with this; on one core where that is asked for."""
    command = [str(built("load")), mode, *(f"{name}={value}" for name, value in options.items())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    cores.pin(process.pid, core)
    try:
        yield Generator(process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def once(mode: str, *, core: int | None = None, **options: Option) -> dict[str, Any]:
    """The one line of a short run."""
    with running(mode, core=core, **options) as generator:
        (line,) = generator.lines()
        return line
