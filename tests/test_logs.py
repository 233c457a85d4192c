"""The search through all that was logged finds what it is for: a run whose log shows such a thing fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from syncserver.app import wiring
from tests import logs
from tests.harness import environment, token

ROOT = Path(__file__).resolve().parents[1]
_OURS = "import logging\ndef test_it(): logging.getLogger('syncserver.engine.keys').debug('it was %s', {what!r})\n"
_PROCESS = """
import subprocess, sys
from tests import logs
def test_it():
    with logs.file() as log:
        subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write({what!r})"], stderr=log, check=True)
"""
_SECRETS = [
    ("a token", token("ada")),
    ("a token", token("ada").split(".")[1]),
    ("a ticket", "GET /api/v1/changes/stream?ticket=R0YLEG7OWJR95O3"),
    ("an id", "00000000-0000-7000-8000-0000000000aF"),
    ("an owner", "user:ada"),
    ("an owner", "owner=session:5c7f2b0e"),
    ("a position", '{"percentage": 0.5}'),
    ("a position", "epubcfi(/6/4!/4/2)"),
    ("a line of a request", '127.0.0.1:5 - "GET /api/v1/changes?cursor=a.b.1 HTTP/1.1" 200'),
]


def _run(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    """A run of its own over one test, with all that belongs to a run of ours."""
    (folder / "test_one.py").write_text(test)
    options = ("-p", "tests.conftest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "-p", "no:xdist")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(folder / "test_one.py")],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("test", [_OURS, _PROCESS], ids=["in-process", "another-process"])
def test_a_run_whose_log_shows_a_token_fails_and_says_where(test: str, tmp_path: Path):
    ended = _run(tmp_path, test.format(what=token("ada")))
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout
    assert "The log shows what it must never show" in ended.stdout
    assert "a token in " in ended.stdout


@pytest.mark.parametrize("test", [_OURS, _PROCESS], ids=["in-process", "another-process"])
def test_a_run_whose_log_shows_nothing_passes(test: str, tmp_path: Path):
    ended = _run(tmp_path, test.format(what="ready"))
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(("what", "text"), _SECRETS, ids=lambda _: "")
def test_it_is_known_for_what_it_is(what: str, text: str):
    assert logs.NEVER[what].search(f"2026-11-22 08:15:00,120 INFO    syncserver.engine.keys: it was {text} there")


def test_what_the_server_says_of_itself_is_none_of_it():
    said = (
        f"2026-11-22 08:15:00,120 WARNING syncserver.engine.house: ready on http://127.0.0.1:8000 at {wiring.now()}",
        "uvicorn.error: Invalid HTTP request received.",
        "syncserver: user:[left out] and session:[left out], ticket=[left out], [id], [token]",
        '  File "/srv/syncserver/api/changes.py", line 40, in poll',
    )
    assert not [line for line in said for pattern in logs.NEVER.values() if pattern.search(line)]
