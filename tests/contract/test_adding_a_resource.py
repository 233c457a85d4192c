"""docs/adding-a-resource.md, followed literally in a copy of the project: two files, and all else comes by itself.

The battery itself is run in that copy over what the page adds, and its commands on a server that runs the copy.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from syncserver.storage import schema
from tests import shell
from tests.harness import Program, environment, free_port

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-resource.md").read_text()
PROJECT = ("syncserver", "migrations", "tests", "docs", "clients", "pyproject.toml", "README.md")
BATTERY = (
    "tests/contract",
    "tests/resources/test_catalog.py",
    "tests/storage/test_tables.py",
    "tests/storage/test_schema.py",
    "--deselect=tests/contract/test_adding_a_resource.py",
    "-k=bookmarks or test_tables or up_down_and_up_again",
)
WHATS_PROVEN = {"routes", "push", "live", "offline", "conflicts", "claim", "isolation", "documents"}
MIGRATION = re.compile(r"migrations/versions/(\d{4})_bookmarks\.py")


def files() -> dict[str, str]:
    """The page's files by their path."""
    return dict(re.findall(r"^```python (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, with the page's files where the page says."""
    folder = tmp_path_factory.mktemp("copy")
    for name in PROJECT:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, target)
    for name, text in files().items():
        assert not (folder / name).exists(), f"{name} is there already"
        (folder / name).write_text(text)
    return folder


def variables(copy: Path) -> dict[str, str]:
    """The environment of a program that is the copy's, whatever is installed."""
    return {**environment(), "PYTHONPATH": os.pathsep.join(map(str, (copy, copy / "clients" / "python")))}


def run(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python program of the copy, to its end."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=variables(copy), capture_output=True, text=True, check=False
    )


@contextmanager
def serving(copy: Path, folder: Path) -> Iterator[Program]:
    """A server that runs the copy."""
    port = free_port()
    arguments = ["serve", "--data-dir", str(folder), "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "syncserver", *arguments],
        cwd=copy,
        env=variables(copy),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        said = process.stdout.readline() if process.stdout else ""
        assert "ready" in said, said
        yield Program(folder, port)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def read(text: str) -> list[Any]:
    """Each JSON object that was printed, one after the other."""
    found, text = [], text.strip()
    while text:
        value, end = json.JSONDecoder().raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found


def test_the_page_adds_one_file_and_one_migration_after_the_newest():
    resource, migration = files()
    assert resource == "syncserver/resources/bookmarks.py"
    number = MIGRATION.fullmatch(migration)
    assert number, migration
    newest, text = schema.newest(), files()[migration]
    mend = f"the newest migration is {newest}: name the page's after it, in its path, revision and down_revision"
    assert f'\ndown_revision = "{newest}"\n' in text, mend
    assert f'\nrevision = "{number[1]}"\n' in text, mend
    assert int(number[1]) == int(newest) + 1, mend


@pytest.mark.timeout(240)
def test_the_page_s_files_pass_every_test_that_asks_of_all_resources(copy: Path):
    done = run(copy, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-vv", *BATTERY)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.findall(r"tests/contract/test_(\w+)\.py::\w+\[.*bookmarks.*\] PASSED", done.stdout)
    assert set(passed) == WHATS_PROVEN
    assert "SKIPPED" not in done.stdout


def test_the_page_s_files_are_written_as_everything_here(copy: Path):
    for command in ("check", "format --check"):
        done = run(copy, "-m", "ruff", *command.split(), "--no-cache", *files())
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(240)
def test_the_page_s_commands_do_what_it_says(copy: Path, folder: Path, tmp_path: Path, monkeypatch):
    with serving(copy, folder) as program:
        monkeypatch.setenv("PYTHONPATH", variables(copy)["PYTHONPATH"])  # `syncserver` is the copy's, too
        ran = shell.run(PAGE, program, tmp_path)
        assert "bookmarks" in httpx.get(f"{program.url}/api/openapi.json").text
    assert list(ran.said) == list(shell.blocks(PAGE))
    assert [asked for asked in ran.asked if asked.status >= 400] == []

    put, patched, got, listed = read(ran.said["routes"])
    assert (put["note"], put["colour"], patched["colour"]) == ("Call me Ishmael.", "yellow", "blue")
    assert (got, listed["items"]) == (patched, [patched])
    assert "bookmarks" in ran.said["live"]
    first, again = read(ran.said["offline"])
    assert [answer["acks"][0]["status"] for answer in (first, again)] == ["applied", "duplicate"]
    assert first["acks"][0]["id_map"] == again["acks"][0]["id_map"]
    before, mine, claimed, after = read(ran.said["owners"])
    assert (before["items"], claimed["rows"]) == ([], 2)
    assert [row["id"] for row in after["items"]] == [mine["id"]]
