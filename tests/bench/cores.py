"""Who used how much of the cores: processes are looked at from outside, before a measurement and after it.

On Linux by /proc; elsewhere by `ps`, which tells hundredths of a second at best.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.result import Busy

_LINUX = sys.platform == "linux"
_QUIET, _LOOK_S, _PATIENCE_S = 0.05, 0.2, 30.0


def pin(pid: int, core: int | None) -> None:
    """Keep all threads of a process on one core, where the system can do that and has at least two."""
    if core is None or not _LINUX or len(os.sched_getaffinity(0)) <= core:
        return
    for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), {core})


def _family(pid: int) -> list[tuple[int, float]]:
    """A process and all below it, each with the seconds of CPU that it used, and its ended children."""
    table = dict(_by_proc() if _LINUX else _by_ps())
    family, seen = [pid], []
    while family:
        one = family.pop()
        if one in table:
            seen.append((one, table[one][1]))
        family += [child for child, (parent, _) in table.items() if parent == one]
    return seen


def _by_proc() -> Iterator[tuple[int, tuple[int, float]]]:
    tick = os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            yield int(entry.name), (int(fields[1]), sum(map(int, fields[11:15])) / tick)


def _by_ps() -> Iterator[tuple[int, tuple[int, float]]]:
    said = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,time="], capture_output=True, text=True, check=True).stdout
    for line in said.splitlines():
        pid, parent, used = line.split()
        used_s = 0.0
        for part in used.replace("-", ":").split(":"):
            used_s = 60 * used_s + float(part)
        yield int(pid), (int(parent), used_s)


def used_s(pid: int, but: int | None = None) -> float:
    """Seconds of CPU of a process and those below it, without those below `but`."""
    without = {one for one, _ in _family(but)} if but is not None else set()
    return sum(seconds for one, seconds in _family(pid) if one not in without)


@dataclass
class Meter:
    """Looks at a server, and at its database where it has one."""

    server: int
    database: int | None = None
    _at: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def begin(self) -> None:
        """From here on."""
        self._at = self._now()

    def end(self, generator_s: float | None = None) -> Busy:
        """Shares of a core since `begin`."""
        began, now = self._at, self._now()
        took = max(now[0] - began[0], 1e-9)
        return Busy(
            server=(now[1] - began[1]) / took,
            database=(now[2] - began[2]) / took if self.database else None,
            generator=generator_s / took if generator_s is not None else None,
        )

    def _now(self) -> tuple[float, float, float]:
        database = used_s(self.database) if self.database else 0.0
        return time.monotonic(), used_s(self.server, self.database), database


def until_quiet(pid: int) -> None:
    """Return when a server has nothing left to do from before."""
    patience = time.monotonic() + _PATIENCE_S
    before = used_s(pid)
    while time.monotonic() < patience:
        time.sleep(_LOOK_S)
        now = used_s(pid)
        if now - before <= _QUIET * _LOOK_S:
            return
        before = now
