"""Nodes over REST: each route, in pages and alone, with their components, and what is not there."""

from itertools import pairwise
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.anonymous import Visitor
from tests.api.problems import pointers, problem
from tests.api.workspaces import Workspace, another, claimed

Raw = dict[str, Any]


async def test_a_node_is_numbered_or_has_the_number_that_it_says(mine: Workspace):
    answer = await mine.ask("POST", "/nodes", {"title": "Ahab", "device_id": "phone"})
    assert (answer.status_code, answer.headers["location"]) == (201, f"/api/v1{mine.path}/nodes/N001")
    row = answer.json()
    assert (answer.headers["sync-status"], answer.headers["etag"]) == ("applied", f'"{row["offset"]}"')
    assert (row["id"], row["node_id"], row["title"]) == (f"{mine.id}:N001", "N001", "Ahab")
    assert (row["session_id"], row["content"], row["metadata"], row["device_id"]) == (mine.id, "", {}, "phone")
    assert (await mine.made("/nodes", node_id="N007"))["node_id"] == "N007"
    assert (await mine.made("/nodes"))["node_id"] == "N008"
    assert await mine.read("/nodes/N001") == row


async def test_sent_again_it_is_the_same_node(mine: Workspace):
    for body in (
        {"title": "Ahab"},
        {"node_id": "N009"},
        {"components": [{"type": "text"}, {"type": "image", "component_id": "face"}]},
    ):
        whole = {**body, "mutation_id": str(uuid4())}
        first, again = [await mine.ask("POST", "/nodes", whole) for _ in range(2)]
        assert (first.status_code, again.status_code) == (201, 201)
        assert (again.json(), again.headers["sync-status"]) == (first.json(), "duplicate")
        assert again.headers["location"] == first.headers["location"]
    assert len((await mine.read("/nodes"))["items"]) == 3


async def test_a_node_comes_with_its_components_in_order(mine: Workspace):
    components = [
        {"component_id": "b", "type": "text"},
        {"type": "image", "config": {"w": 1}},
        {"component_id": "a", "type": "x"},
    ]
    made = await mine.made("/nodes", title="Ahab", components=components)
    assert [row["type"] for row in made["components"]] == ["text", "image", "x"]
    assert made["components_next"] is None
    assert await mine.read("/nodes/N001", components=True) == made
    assert "components" not in await mine.read("/nodes/N001")
    more = [{"component_id": "c", "type": "text"}, {"component_id": "b", "type": "text"}]
    again = await mine.made("/nodes", node_id="N001", components=more)
    assert [row["type"] for row in again["components"]] == ["image", "x", "text", "text"]
    assert [row["component_id"] for row in again["components"]][1:] == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("components", "places"),
    [
        ([{"type": "text"}, {"component_id": "x"}], ["/components/1/type"]),
        ([{"type": 5}, {"type": "text", "config": 7}], ["/components/0/type", "/components/1/config"]),
        ([{"type": "text", "component_id": "a b"}], ["/components/0/component_id"]),
        (
            [{"type": "text", "component_id": "a"}, {"type": "text", "component_id": "a"}],
            ["/components/1/component_id"],
        ),
        ([{"type": "text", "session_id": str(uuid4())}], ["/components/0/session_id"]),
        ([7], ["/components/0"]),
        ("text", ["/components"]),
    ],
)
async def test_of_a_node_with_one_wrong_component_nothing_is_kept(mine: Workspace, components: Any, places: list[str]):
    answer = await mine.ask("POST", "/nodes", {"title": "Ahab", "components": components})
    assert pointers(problem(answer, 422, "invalid")) == places
    assert (await mine.read("/nodes"))["items"] == []
    assert (await mine.made("/nodes", components=[{"type": "text"}]))["node_id"] == "N001"


async def test_nodes_are_listed_by_number_both_ways(mine: Workspace):
    for node in ("N003", "N1000", "N001", "N999", "N020"):
        await mine.made("/nodes", node_id=node)
    whole = (await mine.read("/nodes", limit=500))["items"]
    assert [row["node_id"] for row in whole] == ["N001", "N003", "N020", "N999", "N1000"]
    for limit in (1, 2, 5):
        forward = [await mine.read("/nodes", limit=limit)]
        while forward[-1]["next"]:
            forward.append(await mine.read("/nodes", limit=limit, after=forward[-1]["next"]))
        backward = [await mine.read("/nodes", limit=limit, latest=True)]
        while backward[-1]["previous"]:
            backward.append(await mine.read("/nodes", limit=limit, before=backward[-1]["previous"]))
        for pages in (forward, backward[::-1]):
            assert [row for page in pages for row in page["items"]] == whole
        for here, there in pairwise(forward):
            assert (await mine.read("/nodes", limit=limit, before=there["previous"]))["items"] == here["items"]
        assert forward[0]["previous"] is None
        assert backward[0]["next"] is None


async def test_an_empty_workspace_has_empty_lists(mine: Workspace):
    empty: Raw = {"items": [], "next": None, "previous": None}
    assert await mine.read("/nodes") == await mine.read("/relationships") == empty
    await mine.made("/nodes")
    assert await mine.read("/nodes/N001/components") == empty


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({"limit": 0}, "/query/limit"),
        ({"limit": 501}, "/query/limit"),
        ({"after": "x"}, "/query/after"),
        ({"before": "WyJ4IiwieCJd"}, "/query/before"),
        ({"after": "x", "before": "x"}, "/query/before"),
        ({"after": "WzEwMDAwMDAwMDAwMDAwMDAwMDAwMDAwLCJ4Il0"}, "/query/after"),
    ],
)
async def test_a_wrong_question_is_told_where(mine: Workspace, query: Raw, place: str):
    await mine.made("/nodes")
    for path in ("/nodes", "/nodes/N001/components", "/relationships"):
        assert pointers(problem(await mine.ask("GET", path, params=query), 422, "invalid")) == [place]


async def test_a_node_is_written_whole_or_in_part(mine: Workspace):
    await mine.lay("a", "b")
    whole = await mine.ask("PUT", "/nodes/N001", {"title": "Starbuck", "metadata": {"rank": {"of": "mate", "n": 1}}})
    assert (whole.status_code, whole.json()["title"], whole.json()["content"]) == (200, "Starbuck", "")
    part = await mine.ask("PATCH", "/nodes/N001", {"content": "Pious.", "metadata": {"rank": {"n": None}}})
    assert (part.json()["title"], part.json()["metadata"]) == ("Starbuck", {"rank": {"of": "mate"}})
    assert await mine.sequence() == ["a", "b"]
    new = await mine.ask("PUT", "/nodes/N044", {"title": "Ishmael"})
    assert (new.status_code, new.json()["node_id"]) == (200, "N044")
    wrong = await mine.ask("PATCH", "/nodes/N001", {"title": 7})
    assert pointers(problem(wrong, 422, "invalid")) == ["/title"]
    other = await mine.ask("PUT", "/nodes/N001", {"session_id": str(uuid4())})
    assert pointers(problem(other, 422, "invalid")) == ["/session_id"]


@pytest.mark.parametrize("known", ["base", "if-match", "seen_updated_at"])
async def test_a_patch_of_a_state_that_is_gone_is_told_both_versions(mine: Workspace, known: str):
    await mine.lay("a")
    for path, field, old, new in (
        ("/nodes/N001", "title", "Ahab", "Peleg"),
        ("/nodes/N001/components/a", "type", "image", "video"),
    ):
        seen = await mine.read(path)
        answer = await mine.ask("PATCH", path, {field: new, "device_id": "tablet"})
        body: Raw = {field: old, "device_id": "phone"}
        headers = {"If-Match": f'"{seen["offset"]}"'} if known == "if-match" else {}
        body |= {"base": seen["offset"]} if known == "base" else {}
        body |= {"seen_updated_at": seen["updated_at"]} if known == "seen_updated_at" else {}
        told = problem(await mine.ask("PATCH", path, body, headers=headers), 409, "superseded")
        assert (told["row"]["data"][field], told["yours"][field], told["differs"]) == (new, old, [field])
        assert await mine.read(path) == answer.json()


async def test_a_node_that_goes_takes_along_what_belongs_to_it_and_its_number_is_not_given_again(mine: Workspace):
    await mine.lay("a", node="N001")
    await mine.lay("b", node="N002")
    await mine.made("/relationships", from_node="N001", to_node="N002", type="knows", relationship_id="r")
    answer = await mine.ask("DELETE", "/nodes/N002")
    assert (answer.status_code, answer.content) == (204, b"")
    for path in ("/nodes/N002", "/nodes/N002/components", "/nodes/N002/components/b", "/relationships/r"):
        problem(await mine.ask("GET", path), 404, "not_found")
    problem(await mine.ask("PATCH", "/nodes/N002", {"title": "x"}), 404, "removed")
    assert await mine.sequence() == ["a"]
    assert (await mine.made("/nodes"))["node_id"] == "N003"


@pytest.mark.parametrize("node", ["N1", "N000", "n001", "x", "N0001"])
async def test_what_can_be_no_node_is_told_so(mine: Workspace, node: str):
    assert pointers(problem(await mine.ask("GET", f"/nodes/{node}"), 422, "invalid")) == ["/path/node_id"]
    assert pointers(problem(await mine.ask("POST", "/nodes", {"node_id": node}), 422, "invalid")) == ["/node_id"]


async def test_the_generic_routes_know_the_session_by_the_key(mine: Workspace):
    await mine.made("/nodes")
    body = {"title": "Ahab"}
    answer = await mine.http.put(f"/nodes/{mine.id}:N001", json=body, headers=mine.key)
    assert (answer.status_code, answer.json()["title"]) == (200, "Ahab")
    component = {"node_id": "N001", "type": "text"}
    answer = await mine.http.put(f"/node-components/{mine.id}:c", json=component, headers=mine.key)
    assert answer.json() == await mine.read("/nodes/N001/components/c")


# -- whose it is ------------------------------------------------------------


def requests(of: str) -> list[tuple[str, str, Any]]:
    """Every route, with a body that is right."""
    component, relation = {"type": "text"}, {"from_node": "N001", "to_node": "N001", "type": "knows"}
    components, relationships = f"/nodes/{of}/components", "/relationships"
    return [
        ("GET", "/nodes", None),
        ("POST", "/nodes", {}),
        ("POST", "/nodes", {"components": [component]}),
        *(
            (method, f"/nodes/{of}", {} if method in {"PUT", "PATCH"} else None)
            for method in ("GET", "PUT", "PATCH", "DELETE")
        ),
        ("GET", f"/nodes/{of}?components=true", None),
        ("GET", components, None),
        ("POST", components, component),
        ("PUT", components, {"components": [component]}),
        ("PUT", components, {"components": []}),
        ("GET", f"{components}/a", None),
        ("PATCH", f"{components}/a", {"type": "image"}),
        ("PATCH", f"{components}/a", {"position": 1}),
        ("POST", f"{components}/a/move", {"position": 1}),
        ("DELETE", f"{components}/a", None),
        ("GET", relationships, None),
        ("POST", relationships, relation),
        ("GET", f"{relationships}/r", None),
        ("PUT", f"{relationships}/r", relation),
        ("PATCH", f"{relationships}/r", {"weight": 2}),
        ("DELETE", f"{relationships}/r", None),
    ]


async def test_whose_session_it_is_not_hears_what_is_said_of_one_that_never_was(
    mine: Workspace, eve: httpx.AsyncClient, anybody: httpx.AsyncClient
):
    await mine.lay("a", "b")
    await mine.made("/relationships", from_node="N001", to_node="N001", type="knows", relationship_id="r")
    before = [await mine.read(path) for path in ("/nodes", "/nodes/N001/components", "/relationships")]
    other = await another(anybody)
    await other.lay("a")
    for key in (other.key, dict(eve.headers)):
        theirs = Workspace(
            anybody, mine.path, {"Authorization": key.get("Authorization", key.get("authorization", ""))}
        )
        never = Workspace(anybody, f"/sessions/{uuid4()}", theirs.key)
        for method, path, body in requests("N001"):
            told = [problem(await one.ask(method, path, body), 404, "not_found") for one in (theirs, never)]
            assert told[0] == told[1], (method, path)
    assert [await mine.read(path) for path in ("/nodes", "/nodes/N001/components", "/relationships")] == before
    assert await other.sequence() == ["a"], "the same ids in another session are other rows"


async def test_who_claims_the_session_has_its_workspace(mine: Workspace, visitor: Visitor, http: httpx.AsyncClient):
    await mine.lay("a", "b")
    before = (await mine.read("/nodes/N001", components=True))["components"]
    ada = await claimed(http, visitor)
    kept = ("component_id", "rank", "type", "updated_at")
    after = (await ada.read("/nodes/N001", components=True))["components"]
    assert [[row[name] for name in kept] for row in after] == [[row[name] for name in kept] for row in before]
    assert (await ada.made("/nodes"))["node_id"] == "N002"
    assert (await ada.ask("POST", "/nodes/N001/components/b/move", {"position": 0})).status_code == 200
    assert await ada.sequence() == ["b", "a"]
    problem(await mine.ask("GET", "/nodes"), 401, "claimed")
