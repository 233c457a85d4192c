"""GET /api/v1/stats over HTTP: what may be asked, and who is told what."""

from typing import Any

import httpx
import pytest

from syncserver.core.statistics_bodies import StatsAnswer
from tests.api.problems import pointers, problem

SESSION = "/reading-sessions/0190a1b2-0000-7000-8000-000000000001"
MARCH = {"from": "2024-03-01", "to": "2024-03-31"}


@pytest.fixture
async def read(http: httpx.AsyncClient) -> None:
    """Ada has read half an hour, over midnight in Berlin."""
    times = {"started_at": "2024-03-10T22:45:00Z", "last_activity": "2024-03-10T23:15:00Z", "active_seconds": 1800}
    answer = await http.put(SESSION, json={"publication_id": "moby", **times})
    assert answer.status_code == 200, answer.text


async def asked(http: httpx.AsyncClient, **query: Any) -> StatsAnswer:
    answer = await http.get("/stats", params={**MARCH, **query})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    return StatsAnswer.model_validate_json(answer.content)


@pytest.mark.usefixtures("read")
async def test_the_days_are_those_of_the_reader_s_time_zone(http: httpx.AsyncClient):
    assert [(day.date.day, day.active_seconds) for day in (await asked(http)).days] == [(10, 1800)]
    berlin = await asked(http, time_zone="Europe/Berlin")
    assert [(day.date.day, day.active_seconds) for day in berlin.days] == [(10, 900), (11, 900)]
    only = await asked(http, time_zone="Europe/Berlin", to="2024-03-10")
    assert (only.active_seconds, [one.active_seconds for one in only.publications]) == (900, [900])


@pytest.mark.usefixtures("read")
async def test_of_one_publication_alone(http: httpx.AsyncClient):
    assert (await asked(http, publication_id="moby")).active_seconds == 1800
    other = await asked(http, publication_id="emma")
    assert (other.active_seconds, other.publications, other.streak.longest_days) == (0, [], 0)


@pytest.mark.usefixtures("read")
async def test_nobody_else_is_told(eve: httpx.AsyncClient, anybody: httpx.AsyncClient):
    assert (await asked(eve)).streak.longest_days == 0
    problem(await anybody.get("/stats"), 401, "unauthorised")


async def test_what_is_not_known_is_null_and_not_left_out(http: httpx.AsyncClient):
    await http.put(SESSION, json={"publication_id": "moby", "status": "completed"})
    answer = (await http.get("/stats")).json()
    [book] = answer["publications"]
    names = ("title", "percentage", "pace_per_hour", "seconds_left")
    assert [book[name] for name in names] == [None] * 4
    assert (book["readings"], answer["readings"]) == (1, 1)


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ({"time_zone": "Mars/Olympus"}, "/query/time_zone"),
        ({"time_zone": ""}, "/query/time_zone"),
        ({"time_zone": "x" * 129}, "/query/time_zone"),
        ({"time_zone": "UTC\x00"}, "/query/time_zone"),
        ({"from": "2024-04-01"}, "/query/from"),
        ({"from": "2000-01-01"}, "/query/from"),
        ({"from": "yesterday"}, "/query/from"),
        ({"from": "2024-02-30"}, "/query/from"),
        ({"to": "1709251200"}, "/query/to"),
        ({"to": "0000-01-01"}, "/query/to"),
        ({"to": "2024-03-10T00:00:00"}, "/query/to"),
        ({"publication_id": ""}, "/query/publication_id"),
        ({"publication_id": "x" * 513}, "/query/publication_id"),
    ],
)
async def test_a_wrong_question_is_answered_with_its_place(http: httpx.AsyncClient, query: dict[str, str], where: str):
    answer = await http.get("/stats", params={**MARCH, **query})
    assert pointers(problem(answer, 422, "invalid")) == [where]


@pytest.mark.parametrize(("first", "last"), [("0001-01-01", "0001-01-01"), ("9999-12-31", "9999-12-31")])
async def test_the_first_and_the_last_day_that_there_are(http: httpx.AsyncClient, first: str, last: str):
    assert (await asked(http, **{"from": first, "to": last}, time_zone="Pacific/Kiritimati")).days == []
