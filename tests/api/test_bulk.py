"""Many rows of a session in one request: written together or not at all, and every wrong one is told by its place."""

from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.anonymous import Visitor
from tests.engine.test_whole import stored
from tests.harness import Live, Serving

Raw = dict[str, Any]


@pytest.fixture
async def place(sql: psycopg.Connection) -> str:
    """A session of ada's."""
    place = str(uuid4())
    sql.execute("INSERT INTO sessions (owner, id) VALUES ('user:ada', %s)", [place])
    return place


def bulk(place: str, kind: str = "") -> str:
    return f"/sessions/{place}/bulk{kind}"


def temp(name: str) -> Raw:
    return {"$temp": name}


STORY: Raw = {
    "nodes": [{"temp": "ahab", "title": "Ahab"}, {"node_id": "N007", "title": "Ishmael"}, {"temp": "whale"}],
    "components": [
        {"component_id": "face", "node_id": temp("ahab"), "type": "image", "config": {"of": temp("whale")}},
        {"node_id": "N007", "type": "text"},
        {"node_id": "N007", "type": "sound"},
    ],
    "relationships": [
        {"relationship_id": "hunt", "from_node": temp("ahab"), "to_node": temp("whale"), "type": "hunts", "weight": 2},
        {"from_node": "N007", "to_node": temp("ahab"), "type": "tells of"},
    ],
}


def problem(answer: httpx.Response) -> tuple[int, str, list[tuple[str, str]]]:
    said = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, said["code"], [(one["pointer"], one["code"]) for one in said["errors"]]


async def test_nodes_with_what_belongs_to_them_are_written_by_one_request(
    http: httpx.AsyncClient, sql: psycopg.Connection, place: str
):
    answer = await http.post(bulk(place), json=STORY)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["status"], said["counts"]) == ("applied", {"written": 8, "removed": 0})
    assert said["id_map"] == {"ahab": "N008", "whale": "N009"}, "numbered past those that come along"
    assert [row["node_id"] for row in said["written"]["nodes"]] == ["N008", "N007", "N009"]
    face, text, sound = said["written"]["components"]
    assert (face["component_id"], face["key"]) == ("face", f"{place}:face")
    assert sql.execute("SELECT title FROM nodes ORDER BY node_id").fetchall() == [("Ishmael",), ("Ahab",), ("",)]
    ordered = sql.execute("SELECT component_id FROM node_components WHERE node_id = 'N007' ORDER BY rank").fetchall()
    assert [own for (own,) in ordered] == [text["component_id"], sound["component_id"]], "in the order of the request"
    found = sql.execute("SELECT from_node, to_node, weight FROM session_relationships ORDER BY type").fetchall()
    assert found == [("N008", "N009", 2), ("N007", "N008", 1)]
    [(key, offset)] = sql.execute("""SELECT key, "offset" FROM changes WHERE key LIKE '%:hunt'""").fetchall()
    assert said["written"]["relationships"][0] == {"relationship_id": "hunt", "key": key, "offset": offset}


async def test_the_same_request_again_answers_the_same_and_changes_nothing(
    http: httpx.AsyncClient, sql: psycopg.Connection, place: str
):
    body = {**STORY, "mutation_id": str(uuid4()).upper()}
    first = (await http.post(bulk(place), json=body)).json()
    before = stored(sql)
    again = (await http.post(bulk(place), json={**body, "mutation_id": body["mutation_id"].lower()})).json()
    assert again == {**first, "status": "duplicate"}
    assert stored(sql) == before
    more = {**body, "nodes": [*STORY["nodes"], {"title": "Queequeg"}]}
    status, _, errors = problem(await http.post(bulk(place), json=more))
    assert status == 422
    assert {pointer for pointer, _ in errors} == {"/mutation_id"}
    assert stored(sql) == before


async def test_the_names_of_one_request_are_not_those_of_another(http: httpx.AsyncClient, sql, place: str):
    for _ in range(2):
        await http.post(bulk(place), json={"nodes": [{"temp": "ahab"}]})
    assert sql.execute("SELECT node_id FROM nodes ORDER BY 1").fetchall() == [("N001",), ("N002",)]
    answer = await http.post(bulk(place), json={"components": [{"node_id": temp("ahab"), "type": "text"}]})
    assert problem(answer) == (422, "not_whole", [("/components/0/node_id", "invalid")])


async def test_every_wrong_row_is_told_by_its_place_and_nothing_is_kept(
    http: httpx.AsyncClient, sql: psycopg.Connection, place: str
):
    before = stored(sql)
    wrong = {
        "nodes": [
            {"title": "good"},
            {"node_id": "7"},
            {"title": 5, "metadata": []},
            {"temp": "x", "content": None},
            {"title": "a" * 256},
            {"base": "no"},
        ],
        "components": [
            {"node_id": "N900", "type": "text"},
            {"node_id": temp("x"), "type": "text"},
            {"component_id": 5, "node_id": temp("nobody"), "type": ""},
            {"node_id": temp("nobody"), "type": "text"},
        ],
        "relationships": [{"relationship_id": "a/b", "from_node": temp("me"), "to_node": temp("you"), "type": "t"}],
        "remove": {"nodes": ["N999", "no"]},
    }
    answer = await http.post(bulk(place), json=wrong)
    assert problem(answer) == (
        422,
        "not_whole",
        [
            ("/remove/nodes/0", "not_found"),
            ("/remove/nodes/1", "invalid"),
            ("/nodes/1/node_id", "invalid"),
            ("/nodes/2/title", "invalid"),
            ("/nodes/2/metadata", "invalid"),
            ("/nodes/3/content", "invalid"),
            ("/nodes/4", "too_large"),
            ("/nodes/5/base", "invalid"),
            ("/components/0", "not_found"),
            ("/components/1", "dependency_failed"),
            ("/components/2/component_id", "invalid"),
            ("/components/3/node_id", "invalid"),
            ("/relationships/0/relationship_id", "invalid"),
        ],
    )
    assert stored(sql) == before


async def test_what_is_wrong_with_the_request_as_such_is_told_at_once(http: httpx.AsyncClient, place: str):
    wrong: list[tuple[Raw, list[str]]] = [
        ({"nodes": {}}, ["/nodes"]),
        ({"nodes": [{}, 5, "N001"]}, ["/nodes/1", "/nodes/2"]),
        ({"remove": []}, ["/remove"]),
        ({"remove": {"nodes": [5]}}, ["/remove/nodes"]),
        ({"nodes": [{"node_id": "N001"}, {"node_id": "N001"}]}, ["/nodes/1/node_id"]),
        ({"nodes": [{"temp": "a"}, {"temp": "a"}]}, ["/nodes/1/temp"]),
        ({"nodes": [{"session_id": str(uuid4())}]}, ["/nodes/0/session_id"]),
        ({"remove": {"components": ["a", "a"]}}, ["/remove/components/1"]),
        ({"mutation_id": "no"}, ["/mutation_id"]),
        ({"device_id": ""}, ["/device_id"]),
    ]
    for body, pointers in wrong:
        answer = await http.post(bulk(place), json=body)
        assert answer.status_code == 422, body
        assert [one["pointer"] for one in answer.json()["errors"]] == pointers
    for kind, body_of in (("/nodes", {}), ("/nodes", [5]), ("/components", 5)):
        assert (await http.post(bulk(place, kind), json=body_of)).status_code == 422


async def test_at_most_so_many_rows_come_in_one_request(http: httpx.AsyncClient, sql: psycopg.Connection, place: str):
    nodes = [{"node_id": f"N{number:03}"} for number in range(1, 501)]
    relationships = [{"from_node": one["node_id"], "to_node": "N001", "type": "to"} for one in nodes]
    body = {"nodes": nodes, "relationships": relationships, "remove": {"nodes": ["N501"]}}
    assert (await http.post(bulk(place), json=body)).status_code == 413
    answer = await http.post(bulk(place), json={**body, "remove": {}})
    assert answer.json()["counts"] == {"written": 1000, "removed": 0}
    assert sql.execute("SELECT count(*) FROM session_relationships").fetchone() == (500,)
    bad = [{"node_id": one["node_id"], "title": 5} for one in nodes] * 2
    for number, node in enumerate(bad):
        node["node_id"] = f"N{number + 1:03}"
    told = await http.post(bulk(place, "/nodes"), json=[{**one, "node_id": f"N{n:03}"} for n, one in enumerate(bad, 1)])
    assert len(told.json()["errors"]) == 1000


async def test_an_empty_request_changes_nothing(http: httpx.AsyncClient, sql, place: str):
    before = stored(sql)
    answer = await http.post(bulk(place), json={})
    assert (answer.status_code, answer.json()["counts"]) == (200, {"written": 0, "removed": 0})
    assert stored(sql) == before


# -- what is there -----------------------------------------------------------


async def test_a_row_that_is_there_becomes_what_is_sent_unless_another_was_seen(
    http: httpx.AsyncClient, sql: psycopg.Connection, place: str
):
    first = (await http.post(bulk(place), json=STORY)).json()
    seen = first["written"]["nodes"][0]
    later = {"nodes": [{"node_id": seen["node_id"], "title": "Captain", "base": seen["offset"], "device_id": "x"}]}
    assert (await http.post(bulk(place), json=later)).status_code == 200
    before = stored(sql)
    answer = await http.post(bulk(place), json={"nodes": [{"title": "new"}, *later["nodes"]]})
    assert problem(answer) == (409, "superseded", [("/nodes/1", "superseded")])
    [(now,)] = sql.execute("""SELECT "offset" FROM changes WHERE key = %s""", [seen["key"]]).fetchall()
    assert answer.json()["errors"][0]["offset"] == now
    old = {"nodes": [{"node_id": seen["node_id"], "title": "Old", "updated_at": "2020-01-01T00:00:00Z"}]}
    assert problem(await http.post(bulk(place), json=old))[0] == 409
    assert stored(sql) == before
    body = {"nodes": [{"node_id": seen["node_id"], "title": "Ahab again"}], "device_id": "tablet", "device_name": "T"}
    assert (await http.post(bulk(place), json=body)).status_code == 200
    found = sql.execute("SELECT title, device_id FROM nodes WHERE id = %s", [seen["key"]]).fetchall()
    assert found == [("Ahab again", "tablet")]


async def test_what_is_removed_goes_first_and_may_be_made_anew(
    http: httpx.AsyncClient, sql: psycopg.Connection, place: str
):
    await http.post(bulk(place), json=STORY)
    anew = {
        "remove": {"relationships": ["hunt"], "components": ["face"], "nodes": ["N008", "N007"]},
        "nodes": [{"node_id": "N008", "title": "anew"}],
        "components": [{"component_id": "face", "node_id": "N008", "type": "image"}],
        "relationships": [{"relationship_id": "hunt", "from_node": "N008", "to_node": "N009", "type": "hunts"}],
    }
    answer = await http.post(bulk(place), json=anew)
    assert answer.json()["counts"] == {"written": 3, "removed": 4}
    assert [row["node_id"] for row in answer.json()["removed"]["nodes"]] == ["N008", "N007"]
    assert sql.execute("SELECT node_id FROM nodes ORDER BY 1").fetchall() == [("N008",), ("N009",)]
    assert sql.execute("SELECT component_id FROM node_components").fetchall() == [("face",)]
    assert sql.execute("SELECT relationship_id FROM session_relationships").fetchall() == [("hunt",)]


async def test_each_kind_has_routes_for_lists_of_it(http: httpx.AsyncClient, sql: psycopg.Connection, place: str):
    name = str(uuid4())
    nodes = [{"title": "a"}, {"title": "b"}]
    lists: dict[str, list[Raw]] = {
        "/nodes": nodes,
        "/components": [{"component_id": "c", "node_id": "N001", "type": "text"}],
        "/relationships": [{"relationship_id": "r", "from_node": "N001", "to_node": "N002", "type": "to"}],
    }
    for kind, rows in lists.items():
        answer = await http.post(bulk(place, kind), json=rows, params={"mutation_id": name, "device_id": "phone"})
        assert answer.json()["counts"]["written"] == len(rows), answer.text
    again = await http.post(bulk(place, "/nodes"), json=nodes, params={"mutation_id": name, "device_id": "phone"})
    assert again.json()["status"] == "duplicate"
    assert sql.execute("SELECT DISTINCT device_id FROM changes WHERE resource <> 'sessions'").fetchall() == [("phone",)]
    assert problem(await http.post(bulk(place, "/nodes"), json=[{}, {"title": 5}]))[2] == [("/1/title", "invalid")]
    assert problem(await http.request("DELETE", bulk(place, "/nodes"), json=["N001", "N009"])) == (
        404,
        "not_found",
        [("/1", "not_found")],
    )
    for kind, own in (("/relationships", "r"), ("/components", "c"), ("/nodes", "N002")):
        answer = await http.request("DELETE", bulk(place, kind), json=[own])
        assert answer.json()["counts"] == {"written": 0, "removed": 1}, answer.text
    assert sql.execute("SELECT node_id FROM nodes").fetchall() == [("N001",)]


# -- whose it is -------------------------------------------------------------


async def test_a_session_of_somebody_else_is_not_there(
    eve: httpx.AsyncClient, visitor: Visitor, live: Live, sql: psycopg.Connection, place: str
):
    before = stored(sql)
    async with httpx.AsyncClient(base_url=f"{live.url}/api/v1", headers=visitor.key) as theirs:
        own = await theirs.post(bulk(visitor.id), json=STORY)
        assert own.status_code == 200, own.text
        for http in (eve, theirs):
            for kind in ("", "/nodes", "/components", "/relationships"):
                for session in (place, str(uuid4())):
                    answer = await http.post(bulk(session, kind), json={} if not kind else [])
                    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert sql.execute("SELECT DISTINCT owner FROM nodes").fetchall() == [(visitor.owner,)]
    assert before["nodes"] == []


async def test_a_request_counts_as_many_mutations_as_it_has_rows(serving: Serving, place: str):
    nodes = [{"title": str(number)} for number in range(100)]
    async with (
        serving(mutations_per_s=1) as live,
        httpx.AsyncClient(base_url=f"{live.url}/api/v1", headers=live.headers("ada")) as http,
    ):
        assert (await http.post(bulk(place, "/nodes"), json=nodes)).status_code == 200
        answer = await http.post(bulk(place, "/nodes"), json=nodes[:1])
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) > 10
