"""A backup is taken while the server runs, put back on the same machine or another, and devices notice."""

from pathlib import Path

import httpx
import pytest

from tests.harness import Program


@pytest.fixture
def read(program: Program):
    """What ada has, by plain polling from a cursor."""

    def ask(cursor: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {program.token('ada')}"}
        return httpx.get(f"{program.url}/api/v1/changes", params={"cursor": cursor} if cursor else {}, headers=headers)

    return ask


def keys(answer: httpx.Response) -> list[str]:
    return [row["key"] for row in answer.json()["rows"]]


@pytest.mark.long
def test_what_was_written_after_the_backup_is_gone_and_a_device_is_told_to_fetch_again(program, tmp_path: Path, read):
    file = tmp_path / "backup"
    program.start()
    program.run("put", "moby-dick", "--percentage", "0.5", "--user", "ada")
    assert program.run("backup", str(file)).returncode == 0
    program.run("put", "walden", "--percentage", "0.5", "--user", "ada")
    before = read()
    program.end()

    done = program.run("restore", str(file))

    assert (done.returncode, done.stderr) == (0, "")
    assert "epoch is" in done.stdout
    assert program.run("check").stdout.splitlines()[-1] == "Ready to serve."
    program.start()
    resumed = read(before.json()["cursor"])
    assert (keys(before), resumed.status_code, resumed.json()["reason"]) == (["moby-dick", "walden"], 410, "epoch")
    assert keys(read()) == ["moby-dick"]
    assert "Nothing is wrong" in program.run("doctor", "--user", "ada").stdout


@pytest.mark.long
def test_it_goes_into_a_new_folder_too(program: Program, folder: Path, tmp_path: Path):
    file, there = tmp_path / "backup", Program(folder / "other")
    program.start()
    program.run("put", "moby-dick", "--percentage", "0.5", "--user", "ada")
    program.run("backup", str(file))
    program.end()
    assert there.run("restore", str(file)).returncode == 0
    there.start()
    try:
        headers = {"Authorization": f"Bearer {there.token('ada')}"}
        assert keys(httpx.get(f"{there.url}/api/v1/changes", headers=headers)) == ["moby-dick"]
    finally:
        there.end()


def test_the_file_is_nobody_elses_and_never_written_over(program: Program, tmp_path: Path):
    file = tmp_path / "backup"
    assert program.run("backup", str(file)).returncode == 0
    assert file.stat().st_mode & 0o077 == 0
    again = program.run("backup", str(file))
    assert again.returncode == 1
    assert "not there yet" in again.stderr


def test_a_file_that_is_none_changes_nothing(program: Program, tmp_path: Path):
    (tmp_path / "rubbish").write_text("not a backup")
    program.run("psql", "-c", "INSERT INTO reading_progress (owner, publication_id) VALUES ('user:ada', 'moby-dick')")
    for name in ("rubbish", "none"):
        done = program.run("restore", str(tmp_path / name))
        assert done.returncode == 1
        assert "What to do" in done.stderr
    assert "moby-dick" in program.run("psql", "-c", "SELECT publication_id FROM reading_progress").stdout
