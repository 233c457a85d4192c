"""The page on anonymous sessions, run as it stands: all its commands in one shell; only the port may be another."""

import json
import re
from pathlib import Path
from typing import Any

from syncserver.core import bodies
from tests import shell
from tests.harness import Program

PAGE = (Path(__file__).parents[2] / "docs" / "sessions.md").read_text()


def read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_page_does_what_it_says(program: Program, tmp_path: Path):
    program.start()
    heard = {name: text.split() for name, text in shell.run(PAGE, program, tmp_path).said.items()}

    assert list(heard) == list(shell.blocks(PAGE))
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
