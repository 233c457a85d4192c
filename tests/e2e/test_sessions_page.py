"""The page on anonymous sessions, run as it stands: all its commands in one shell; only the port may be another."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from syncserver.core import bodies
from tests.harness import Program, environment

PAGE = (Path(__file__).parents[2] / "docs" / "sessions.md").read_text()
_END = "--- the end of"
_PATIENCE_S = 60


def blocks() -> dict[str, str]:
    """The page's commands by the name behind `sh`, in order."""
    found = re.findall(r"^ *```sh ([\w-]+)\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
    return {name: textwrap.dedent(text) for name, text in found}


def said(program: Program, folder: Path) -> dict[str, list[str]]:
    """What each block printed."""
    script = "".join(f"{text}printf '\\n%s %s\\n' '{_END}' {name}\n" for name, text in blocks().items())
    script = "set -eu\n" + script.replace("127.0.0.1:8000", f"127.0.0.1:{program.port}")
    variables = {
        **environment(),
        "PATH": f"{Path(sys.executable).parent}:{environment()['PATH']}",
        "SYNCSERVER_DATA_DIR": str(program.folder),
        "PAGER": "cat",
    }
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = re.split(rf"^{_END} ([\w-]+)\n", done.stdout, flags=re.MULTILINE)
    return {name: text.split() for text, name in zip(printed[0::2], printed[1::2], strict=False)}


def read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.skipif(not shutil.which("curl"), reason="the page uses curl")
def test_the_page_does_what_it_says(program: Program, tmp_path: Path):
    program.start()
    heard = said(program, tmp_path)

    assert list(heard) == list(blocks())
    begun = read("".join(heard["begin"]))
    assert begun.keys() == {"session_id", "created_at", "expires_at", "token"}
    assert heard["key"] == []
    row, changes = "".join(heard["write"]).split("}{", 1)
    assert read(row + "}")["percentage"] == 0.25
    assert {change["resource"] for change in read("{" + changes)["rows"]} == {"sessions", "progress"}
    valid = read("".join(heard["validate"]))
    assert (valid["session_id"], valid["valid"]) == (begun["session_id"], True)
    assert heard["touch"] == ["204"]
    claimed = {"session_id": begun["session_id"], "rows": 2, "conflicts": 0, "cursor": None}
    assert read("".join(heard["claim"])) == claimed
    assert heard["delete"][0] == "204"
    gone, status = "".join(heard["delete"][1:]).rsplit("}", 1)
    assert (read(gone + "}")["code"], status) == ("not_found", "404")
    assert heard["clean"] == ["DELETE", "0"]


def test_the_answers_on_the_page_have_the_fields_of_the_real_ones():
    shown = re.findall(r"```json\n *(.*?)\n", PAGE)
    models = (bodies.SessionAnswer, bodies.ValidAnswer, bodies.ClaimAnswer)
    assert [list(read(text)) for text in shown] == [list(model.model_fields) for model in models]
