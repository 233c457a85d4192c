"""The page on reading sessions, run as it stands: all its commands in one shell; only the port may be another."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from syncserver.core import reading_bodies
from tests import shell
from tests.e2e.test_api_page import READING, every_operation
from tests.harness import Program

PAGE = (Path(__file__).parents[2] / "docs" / "reading.md").read_text()
_REFUSED = ("PATCH", "/api/v1/reading-sessions/019a9f60-7c1e-7b3a-8f00-2d1c5b6a7e90", 409)
"""The one request of the page that is meant to be refused."""


def read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.timeout(240)
def test_the_page_does_what_it_says_and_leaves_no_route_out(program: Program, tmp_path: Path):
    program.start()
    ran = shell.run(PAGE, program, tmp_path)
    said = ran.said
    assert list(said) == list(shell.blocks(PAGE))
    assert [asked for asked in ran.asked if asked.status >= 400] == [shell.Asked(*_REFUSED)]
    every = {o for o in every_operation(program.url) if o[1].startswith(READING)}
    assert len(every) > 15
    assert [asked.status for asked in ran.asked if asked.method == "DELETE"] == [204] * 3
    assert shell.left_out(ran.asked, every) == set()
    _told_of_sessions(said)
    _told_of_what_came_of_them(said)


def _told_of_sessions(said: dict[str, str]) -> None:
    assert read(said["begin"])["status"] == "active"
    assert read(said["save"])["state"] == {"font": "serif", "zoom": 2}
    refused = read(said["conflict"])
    assert (refused["code"], refused["differs"]) == ("superseded", ["percentage"])
    assert refused["yours"] == {"percentage": 0.15, "title": "Moby-Dick"}
    assert refused["conflict_id"]
    assert (read(said["check"])["conflict"], read(said["check"])["outcome"]["client-wins"]) == (True, "yours")
    resolved = read(said["resolve"])
    assert (resolved["won"], resolved["row"]["data"]["percentage"]) == ("yours", 0.15)
    assert re.findall(r'"status" : "(\w+)"', said["rest"]) == ["paused", "active", "abandoned"]
    new = read(said["resume"])
    assert (new["percentage"], new["state"], new["device_name"]) == (0.25, {"font": "serif", "zoom": 2}, "Tablet")
    incomplete = json.JSONDecoder().raw_decode(said["lists"])[0]
    assert ([row["id"] for row in incomplete["items"]], incomplete["next"]) == ([new["id"]], None)


def _told_of_what_came_of_them(said: dict[str, str]) -> None:
    first, again = said["complete"].strip().split("}{")
    assert first + "}" == "{" + again
    assert '"ordinal" : 1' in first
    assert said["delete"].strip() == ""
    assert re.findall(r'"type" : "(\w+)"', said["events"].split("\n")[0])[-1] == "resumed"
    synced = reading_bodies.OfflineAnswer.model_validate_json(said["sync"])
    assert [result.status for result in synced.results] == ["applied", "applied"]
    assert synced.results[1].reading_id == synced.ids["evening-2"]
    assert synced.totals.active_seconds == 3900


def test_the_answers_on_the_page_have_the_fields_of_the_real_ones():
    shown = [read(text.replace("{…}", "{}")) for text in re.findall(r"```json\n *(.*?)\n", PAGE)]
    models = (reading_bodies.ConflictInfo, reading_bodies.ConflictResolved, reading_bodies.OfflineAnswer)
    assert [list(text) for text in shown] == [list(model.model_fields) for model in models]
    assert all(result.keys() <= reading_bodies.OfflineResult.model_fields.keys() for result in shown[2]["results"])


def test_the_limits_on_the_page_are_the_real_ones():
    assert f"at most {reading_bodies.SESSIONS} sessions" in PAGE
    assert f"at most {reading_bodies.INTERVALS} pairs" in PAGE
