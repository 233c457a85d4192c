"""The page on workspaces, run as it stands: all its commands in one shell; only the port may be another."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from syncserver import resources
from tests import shell
from tests.e2e.test_api_page import WORKSPACE, every_operation
from tests.harness import Program

PAGE = (Path(__file__).parents[2] / "docs" / "workspace.md").read_text()
_NESTED = re.compile(r"/api/v1/sessions/\{\w+\}/(nodes|relationships|bulk|import|export)")


def read(text: str) -> list[dict[str, Any]]:
    """Each JSON object that was printed, one after the other, up to what is none."""
    found, text = [], text.strip()
    while text.startswith("{"):
        value, end = json.JSONDecoder().raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found


def named(page: dict[str, Any], name: str) -> list[str]:
    return [row[name] for row in page["items"]]


@pytest.mark.timeout(240)
def test_the_page_does_what_it_says_and_leaves_no_route_out(program: Program, tmp_path: Path):
    program.start()
    ran = shell.run(PAGE, program, tmp_path)
    said = {name: read(text) for name, text in ran.said.items()}
    assert list(said) == list(shell.blocks(PAGE))
    assert [asked for asked in ran.asked if asked.status >= 400] == []
    every = {o for o in every_operation(program.url) if o[1].startswith(WORKSPACE) or _NESTED.match(o[1])}
    assert len(every) >= 19 + 15
    assert shell.left_out(ran.asked, every) == set()

    assert named(said["begin"][0], "node_id") == ["N001", "N002"]
    ahab, queequeg = said["node"]
    assert (ahab["node_id"], queequeg["node_id"]) == ("N003", "N007")
    assert [row["component_id"] for row in queequeg["components"]] == ["face", "life"]
    first, second, whole = said["nodes"]
    assert (named(first, "node_id"), named(second, "node_id")) == (["N001", "N002"], ["N003", "N007"])
    assert whole["components"] == queequeg["components"]
    assert said["change"][1]["metadata"] == {"survives": True}
    assert named(said["components"][-1], "component_id") == ["name", "face", "harpoon", "life", "coffin"]
    assert said["move"][2]["config"] == {}
    assert named(said["replace"][0], "component_id") == ["name", "face", "pipe"]
    assert named(said["relationships"][1], "relationship_id") == ["bed"]
    assert said["relationships"][4]["type"] == "saves"
    assert [ack["status"] for ack in said["offline"][0]["acks"]] == ["applied"] * 3
    assert said["delete"][-1]["items"] == []


@pytest.mark.parametrize("name", ["nodes", "node_components", "session_relationships"])
def test_every_field_is_explained(name: str):
    explained = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))))
    assert {column.name for column in resources.catalog()[name].columns} <= explained
