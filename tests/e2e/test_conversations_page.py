"""The page on conversations, run as it stands: all its commands in one shell; only the port may be another."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from syncserver import resources
from tests import shell
from tests.e2e.test_api_page import CONVERSATIONS, every_operation
from tests.harness import Program

PAGE = (Path(__file__).parents[2] / "docs" / "conversations.md").read_text()


def read(text: str) -> list[dict[str, Any]]:
    """Each JSON object that was printed, one after the other."""
    found, text = [], text.strip()
    while text.startswith("{"):
        value, end = json.JSONDecoder().raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found


@pytest.mark.timeout(240)
def test_the_page_does_what_it_says_and_leaves_no_route_out(program: Program, tmp_path: Path):
    program.start()
    ran = shell.run(PAGE, program, tmp_path)
    said = {name: read(text) for name, text in ran.said.items()}
    assert list(said) == list(shell.blocks(PAGE))
    assert [asked for asked in ran.asked if asked.status >= 400] == []
    every = {o for o in every_operation(program.url) if o[1].startswith(CONVERSATIONS)}
    assert len(every) == 13
    assert shell.left_out(ran.asked, every) == set()

    begun = said["begin"][0]
    assert begun["title"] == "Who is Ishmael?"
    question, answer = said["say"]
    grown = said["grow"][-1]
    assert (grown["content"], grown["created_at"]) == ("A sailor who calls himself Ishmael.", answer["created_at"])
    first, last = said["read"]
    assert (first["items"], first["previous"], last["items"], last["next"]) == ([question], None, [grown], None)
    assert said["pages"][0]["items"] == [grown]
    (listed, _, retitled) = said["list"]
    assert listed["items"][0]["updated_at"] >= answer["updated_at"] > listed["items"][0]["titled_at"]
    assert retitled["title"] == "Call me Ishmael"
    assert [row["content"] for row in said["whole"][2]["items"]] == ["Be brief."]
    (pushed,) = said["offline"]
    assert [ack["status"] for ack in pushed["acks"]] == ["applied", "applied"]
    assert [asked.status for asked in ran.asked if asked.method == "DELETE"] == [204, 204]


@pytest.mark.parametrize("name", ["conversations", "messages"])
def test_every_field_is_explained(name: str):
    explained = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))))
    assert {column.name for column in resources.catalog()[name].columns} <= explained
