import subprocess
import sys
from pathlib import Path

import pytest

from syncserver.app import secret
from syncserver.core.errors import SetupError


def test_the_first_run_makes_a_secret_that_only_its_owner_can_read(tmp_path: Path):
    folder = tmp_path / "new" / "folder"
    made = secret.load(folder)
    assert len(made) >= 48
    assert (folder / "secret").stat().st_mode & 0o777 == 0o600
    assert secret.load(folder) == made
    assert [path.name for path in folder.iterdir()] == ["secret"]


def test_each_data_folder_has_its_own(tmp_path: Path):
    assert secret.load(tmp_path / "a") != secret.load(tmp_path / "b")


def test_many_first_runs_at_once_agree_on_one(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; from syncserver.app import secret; sys.stdin.read(1);"
        "print(secret.load(Path(sys.argv[1])).decode())"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(5)
    ]
    for run in runs:
        assert run.stdin
        run.stdin.write("go")
        run.stdin.flush()
    said = {run.communicate()[0].strip() for run in runs}
    assert said == {secret.load(tmp_path).decode()}
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_what_a_crashed_first_run_left_does_not_stand_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.getpid", lambda: 7)
    (tmp_path / ".secret-7").write_text("half")
    assert len(secret.load(tmp_path)) >= 48


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int):
    secret.load(tmp_path)
    (tmp_path / "secret").chmod(mode)
    with pytest.raises(SetupError, match="read by others") as refused:
        secret.load(tmp_path)
    assert refused.value.advice.startswith("chmod 600 ")


def test_a_secret_cut_short_is_refused_without_being_shown(tmp_path: Path):
    (tmp_path / "secret").write_text("short-one\n")
    (tmp_path / "secret").chmod(0o600)
    with pytest.raises(SetupError, match="cut short") as refused:
        secret.load(tmp_path)
    assert "short-one" not in str(refused.value)


def test_a_folder_that_is_none_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot be used") as refused:
        secret.load(tmp_path / "file")
    assert "--data-dir" in refused.value.advice
