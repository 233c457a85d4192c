"""Relationships over REST: each route, in pages and by either end."""

from typing import Any
from uuid import uuid4

import pytest

from tests.api.problems import pointers, problem
from tests.api.workspaces import Workspace

Raw = dict[str, Any]
HOME = "/relationships"


@pytest.fixture
async def whaler(mine: Workspace) -> Workspace:
    """Three nodes, and what relates them."""
    for _ in range(3):
        await mine.made("/nodes")
    for name, start, end, kind in (
        ("a", "N001", "N002", "knows"),
        ("b", "N002", "N001", "knows"),
        ("c", "N002", "N002", "hunts"),
        ("d", "N003", "N001", "hunts"),
    ):
        await mine.made(HOME, relationship_id=name, from_node=start, to_node=end, type=kind)
    return mine


def names(page: Raw) -> str:
    return "".join(row["relationship_id"] for row in page["items"])


async def test_it_is_made_under_the_client_s_id_or_one_of_the_server(whaler: Workspace):
    body = {"from_node": "N001", "to_node": "N003", "type": "owes", "metadata": {"dollars": 5}}
    answer = await whaler.ask("POST", HOME, {**body, "relationship_id": "debt", "weight": 0.5})
    assert (answer.status_code, answer.headers["location"]) == (201, f"/api/v1{whaler.path}{HOME}/debt")
    row = answer.json()
    assert (row["id"], row["weight"], row["metadata"]) == (f"{whaler.id}:debt", 0.5, {"dollars": 5})
    assert await whaler.read(f"{HOME}/debt") == row
    whole = {**body, "mutation_id": str(uuid4())}
    first, again = [await whaler.ask("POST", HOME, whole) for _ in range(2)]
    assert (again.json(), again.headers["sync-status"]) == (first.json(), "duplicate")
    assert first.json()["weight"] == 1


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, "abcd"),
        ({"from_node": "N002"}, "bc"),
        ({"to_node": "N001"}, "bd"),
        ({"node": "N001"}, "abd"),
        ({"node": "N002"}, "abc"),
        ({"type": "hunts"}, "cd"),
        ({"node": "N001", "type": "knows"}, "ab"),
        ({"from_node": "N002", "to_node": "N002"}, "c"),
        ({"node": "N001", "from_node": "N002"}, "b"),
        ({"node": "N777"}, ""),
    ],
)
async def test_they_are_listed_by_id_in_pages_both_ways(whaler: Workspace, query: Raw, found: str):
    assert names(await whaler.read(HOME, **query)) == found
    forward = [await whaler.read(HOME, limit=1, **query)]
    while forward[-1]["next"]:
        forward.append(await whaler.read(HOME, limit=1, after=forward[-1]["next"], **query))
    assert "".join(map(names, forward)) == found
    back = forward[-1]
    while back["previous"]:
        back = await whaler.read(HOME, limit=1, before=back["previous"], **query)
    assert names(back) == found[:1]


@pytest.mark.parametrize("query", [{"node": "x"}, {"from_node": "N1"}, {"to_node": ""}, {"type": "x" * 65}])
async def test_a_wrong_filter_is_told_where(whaler: Workspace, query: Raw):
    answer = await whaler.ask("GET", HOME, params=query)
    assert answer.status_code in {413, 422}
    if answer.status_code == 422:
        assert pointers(problem(answer, 422, "invalid")) == [f"/query/{next(iter(query))}"]


async def test_one_is_written_whole_in_part_and_removed(whaler: Workspace):
    part = await whaler.ask("PATCH", f"{HOME}/a", {"weight": 2.5})
    assert (part.status_code, part.json()["weight"], part.json()["type"]) == (200, 2.5, "knows")
    body = {"from_node": "N003", "to_node": "N003", "type": "is"}
    whole = await whaler.ask("PUT", f"{HOME}/a", body)
    assert (whole.json()["from_node"], whole.json()["weight"]) == ("N003", 1)
    seen = {"If-Match": part.headers["etag"]}
    problem(await whaler.ask("PATCH", f"{HOME}/a", {"weight": 9}, headers=seen), 409, "superseded")
    assert (await whaler.ask("DELETE", f"{HOME}/a")).status_code == 204
    problem(await whaler.ask("GET", f"{HOME}/a"), 404, "not_found")
    assert len((await whaler.read("/nodes"))["items"]) == 3


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({}, ["/from_node", "/to_node", "/type"]),
        ({"from_node": "N001", "to_node": "x", "type": "knows"}, ["/to_node"]),
        ({"from_node": "N001", "to_node": f"{uuid4()}:N001", "type": "knows"}, ["/to_node"]),
        ({"from_node": "N001", "to_node": "N001", "type": ""}, ["/type"]),
        ({"from_node": "N001", "to_node": "N001", "type": "x", "relationship_id": "a/b"}, ["/relationship_id"]),
        ({"from_node": "N001", "to_node": "N001", "type": "x", "session_id": str(uuid4())}, ["/session_id"]),
    ],
)
async def test_a_wrong_one_is_told_where(whaler: Workspace, body: Raw, places: list[str]):
    assert pointers(problem(await whaler.ask("POST", HOME, body), 422, "invalid")) == places


async def test_to_a_node_that_is_not_there_nothing_is_related(whaler: Workspace):
    body = {"from_node": "N001", "to_node": "N099", "type": "knows"}
    problem(await whaler.ask("POST", HOME, body), 404, "not_found")
    await whaler.ask("DELETE", "/nodes/N003")
    problem(await whaler.ask("POST", HOME, {**body, "to_node": "N003"}), 404, "removed")
    assert names(await whaler.read(HOME)) == "abc"
