"""The process between a private PostgreSQL and those who use it: `watchdog.py HOME SOCKETS UID:GID PROGRAMS`.

It runs PostgreSQL as its child, starts it again after a crash, and ends it as soon as no process holds a share of
`in-use.lock` any more; the kernel drops a share at any death. It needs the standard library only, starts as a plain
file (`python -I -S`) within some 20 ms, and knows nothing of what is stored.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

IN_USE = "in-use.lock"  # every user holds it shared; the watchdog waits to hold it alone
WATCHDOG = "watchdog.lock"  # held alone by the watchdog while it lives; its text is the watchdog's process id
DATA = "data"
LOG = "postgresql.log"
PORT = 5432  # names the socket; nothing listens on a network

_PROC = Path("/proc/self/cmdline")
_LARGEST_LOG = 10 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
_SETTLED_S = 5.0  # who lived that long did start: a later death is a crash, and is healed for ever
_TRIES_AT_FIRST = 9  # some nine seconds: enough for what a killed predecessor left in shared memory
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_FAST_SHUTDOWN_S = 120.0  # a last checkpoint on a slow disk takes its time; after this, without one

# `log_min_messages=log` leaves out errors, whose text may quote a value; whoever made the statement gets them anyway.
_SETTINGS = {
    "port": str(PORT),
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "deadlock_timeout": "100ms",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_checkpoints": "off",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


class Account(NamedTuple):
    """Whom PostgreSQL runs as, where we are root."""

    uid: int
    gid: int


def open_lock(path: Path, account: Account | None = None) -> int:
    """Open a lock file, made if missing; never through a link, as the folder may belong to another user than root."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if account:
        os.fchown(opened, account.uid, account.gid)  # its owner may start without root next time
    return opened


def is_free(path: Path, account: Account | None, how: int) -> bool:
    """Whether a lock is to be had, at a glance."""
    lock = open_lock(path, account)
    try:
        return try_lock(lock, how)
    finally:
        os.close(lock)


def unwatched(home: Path, account: Account | None) -> bool:
    """Whether no watchdog lives."""
    return is_free(home / WATCHDOG, account, fcntl.LOCK_SH)


def others_hold_on(home: Path, account: Account | None) -> bool:
    """Whether others have shares: one more is to be had (so the watchdog is not ending), but not all of it."""
    path = home / IN_USE
    return not is_free(path, account, fcntl.LOCK_EX) and is_free(path, account, fcntl.LOCK_SH)


def rename_durably(fresh: Path, final: Path) -> None:
    """Give a folder its final name, so that a power cut cannot take the name back from under the rows in it."""
    fresh.rename(final)
    parent = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def try_lock(lock: int, how: int) -> bool:
    """Whether the lock was to be had at once."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def bare_environment() -> dict[str, str]:
    """What PostgreSQL's programs see: none of the server's secrets, nor a PG* variable that would steer them."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", **kept}


def run(command: Sequence[str | Path], account: Account | None, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's programs to its end."""
    return subprocess.run(  # noqa: S603 - programs of PostgreSQL and the shell, with arguments of ours
        command,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        cwd="/",
        env=bare_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=max(timeout, 1),
        check=False,
    )


def launch(home: Path, sockets: Path, account: Account | None, programs: Path, timeout: float) -> None:
    """Start a watchdog; when this returns, it keeps the watch (unless another did already)."""
    path = home / LOG
    if path.exists() and path.stat().st_size > _LARGEST_LOG:
        path.replace(path.with_name(f"{LOG}.1"))
    owner = f"{account.uid}:{account.gid}" if account else ""
    own_file = str(Path(__file__).resolve())
    log = open_lock(path, account)
    try:
        subprocess.run(  # noqa: S603 - our own file
            [sys.executable, "-I", "-S", own_file, str(home), str(sockets), owner, str(programs)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,  # a terminal's Ctrl-C is for the server, which then ends in order
            timeout=max(timeout, 1),
            check=True,
        )
    finally:
        os.close(log)


def running_postmaster(data: Path) -> int | None:
    """The process that serves this data folder, if one does."""
    pid = _noted_pid(data)
    return pid if pid is not None and _is_postmaster(pid, data) else None


def _noted_pid(data: Path) -> int | None:
    try:
        return abs(int((data / "postmaster.pid").read_text().split("\n", 1)[0]))
    except (OSError, ValueError):
        return None


def _is_postmaster(pid: int, data: Path) -> bool:
    """By its command line: in a new container the number in a stale file may be that of any process."""
    if not _PROC.exists():
        listed = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)  # noqa: S603, S607 - ps stands in for /proc
        return os.fsencode(data) in listed.stdout
    try:
        return os.fsencode(data) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove_stale(data: Path, sockets: Path) -> None:
    """Remove what would stop a start: notes of a process id that by now is somebody else's.

    The note of a dead process stays: PostgreSQL finds in it the shared memory that must be unused by then.
    """
    pid = _noted_pid(data)
    if pid is not None and _alive(pid):
        (data / "postmaster.pid").unlink(missing_ok=True)
    for lock in sockets.glob(".s.PGSQL.*.lock"):
        lock.unlink(missing_ok=True)


def _command(programs: Path, data: Path, sockets: Path) -> list[str]:
    quoted = str(sockets).replace('"', '""')
    settings = _SETTINGS | {"unix_socket_directories": f'"{quoted}"'}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(programs / "postgres"), "-D", str(data), *options]


def _death_signal() -> Callable[[], None] | None:
    """What a child runs before PostgreSQL, so that the watchdog's own death is a fast shutdown too (Linux only)."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes  # noqa: PLC0415 - only Linux has the call

    prctl = ctypes.CDLL(None).prctl
    watchdog = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
        if os.getppid() != watchdog:  # it died before the call
            os._exit(1)

    return ask


class Watchdog:
    """Keeps one PostgreSQL alive for as long as somebody uses it."""

    def __init__(self, home: Path, sockets: Path, account: Account | None, programs: Path) -> None:
        self._home = home
        self._data = home / DATA
        self._sockets = sockets
        self._account = account
        self._command = _command(programs, home / DATA, sockets)
        self._turn = threading.Lock()  # between starting a postmaster and asking it to end
        self._pid: int | None = None
        self._ending = threading.Event()
        self._over = threading.Event()

    def run(self) -> None:
        """Return when nobody is left and PostgreSQL has ended, or when it never came up at all."""
        in_use = open_lock(self._home / IN_USE)  # open until the process exits: who comes meanwhile waits for it
        threading.Thread(target=self._end_after_last_user, args=(in_use,), daemon=True).start()
        settled, quick_deaths = False, 0
        while not self._ending.is_set():
            began = time.monotonic()
            self._live_once()
            lived = time.monotonic() - began > _SETTLED_S
            settled, quick_deaths = settled or lived, 0 if lived else quick_deaths + 1
            if quick_deaths >= _TRIES_AT_FIRST and not settled:
                break
            self._ending.wait(min(_FIRST_PAUSE_S * 2**quick_deaths, _LONGEST_PAUSE_S))
        self._over.set()

    def _live_once(self) -> None:
        adopted = running_postmaster(self._data)
        if adopted is None:
            _remove_stale(self._data, self._sockets)
        with self._turn:
            if self._ending.is_set() and adopted is None:
                return
            child = self._start() if adopted is None else None
            self._pid = child.pid if child is not None else adopted
            if self._ending.is_set():
                self._signal(signal.SIGINT)
        self._wait(child)
        with self._turn:
            self._pid = None

    def _start(self) -> subprocess.Popen[bytes]:
        uid, gid = self._account or (None, None)
        return subprocess.Popen(  # noqa: S603 - the command is ours
            self._command,
            stdin=subprocess.DEVNULL,
            cwd=self._home,
            env=bare_environment(),
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            preexec_fn=_death_signal(),  # noqa: PLW1509 - the other thread sleeps in the kernel and holds no lock
        )

    def _wait(self, child: subprocess.Popen[bytes] | None) -> None:
        """Wait for its end; a postmaster that a dead watchdog left is nobody's child here, and is looked at."""
        if child is not None:
            child.wait()
            return
        pause = 0.02 if _PROC.exists() else 1.0
        while self._pid is not None and _is_postmaster(self._pid, self._data):
            time.sleep(pause)

    def _end_after_last_user(self, in_use: int) -> None:
        fcntl.flock(in_use, fcntl.LOCK_EX)
        with self._turn:
            self._ending.set()
            self._signal(signal.SIGINT)
        if not self._over.wait(_FAST_SHUTDOWN_S):
            self._signal(signal.SIGQUIT)

    def _signal(self, number: signal.Signals) -> None:
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)


def _take_watch(home: Path) -> int | None:
    """The lock of the one watchdog; a glance of another process at it lasts a moment, another watchdog stays."""
    lock = open_lock(home / WATCHDOG)
    for _ in range(100):
        if try_lock(lock, fcntl.LOCK_EX):
            return lock
        time.sleep(0.01)
    return None


def main(arguments: list[str]) -> None:
    """Take the watch, let the caller go on, and keep it in a child of nobody's (so that nobody has to reap it)."""
    home, sockets, account = Path(arguments[0]), Path(arguments[1]), arguments[2]
    lock = _take_watch(home)
    if lock is None or os.fork():
        return  # the child has the lock: when the caller sees this process end, the watch is kept
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # it ends when its users have; they are the ones to be asked
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    uid, _, gid = account.partition(":")
    Watchdog(home, sockets, Account(int(uid), int(gid)) if account else None, Path(arguments[3])).run()
    os.close(lock)  # before in-use.lock, which the end of the process drops: who gets that finds no watchdog
    os._exit(0)  # the thread may still wait for a user's end


if __name__ == "__main__":
    main(sys.argv[1:])
