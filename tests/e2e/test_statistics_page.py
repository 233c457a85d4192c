"""The page on statistics, run as it stands: all its commands in one shell; only the port may be another."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from syncserver.core.statistics_bodies import DayRead, PublicationRead, StatsAnswer
from syncserver.engine import statistics
from tests import shell
from tests.harness import Program

PAGE = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()


def names(model: Any) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def shown() -> dict[str, Any]:
    """The answer that stands on the page."""
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    answer: dict[str, Any] = json.loads(text)
    return answer


@pytest.mark.timeout(240)
def test_the_page_does_what_it_says(program: Program, tmp_path: Path):
    program.start()
    ran = shell.run(PAGE, program, tmp_path)
    assert list(ran.said) == list(shell.blocks(PAGE))
    assert [asked.status for asked in ran.asked] == [200, 200, 200, 200, 422]
    said = {name: json.loads(text) for name, text in ran.said.items() if name != "key"}
    assert said["march"] == shown()
    days = [(day["date"], day["active_seconds"]) for day in said["one-book"]["days"]]
    assert (said["one-book"]["time_zone"], days) == ("UTC", [("2024-03-10", 1800)])
    assert (said["year"]["days"], said["year"]["streak"]) == ([], {"current_days": 0, "longest_days": 1})
    assert said["wrong-zone"]["errors"][0]["pointer"] == "/query/time_zone"


def test_the_answer_on_the_page_has_the_fields_of_the_real_one():
    answer = shown()
    assert list(answer) == names(StatsAnswer)
    assert list(answer["days"][0]) == names(DayRead)
    assert list(answer["publications"][0]) == names(PublicationRead)
    for name in (*names(StatsAnswer), *names(DayRead), *names(PublicationRead)):
        assert f"`{name}`" in PAGE


def test_the_limits_on_the_page_are_the_real_ones():
    for limit in (statistics.DAYS, statistics.DAYS_MAX, statistics.PUBLICATIONS_MAX):
        assert f"{limit:,}" in PAGE
