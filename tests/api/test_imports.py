"""Imports over HTTP: all of it or nothing, every fault at its place, told while it runs, cancelled when asked."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.anonymous import begun
from tests.api.filed import NODES, RELATIONSHIPS, exported, refused, send, taken
from tests.api.workspaces import Raw, Workspace, another
from tests.harness import Live, Serving, until_locked_out


@pytest.fixture
async def http(live: Live) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{live.url}/api/v1", timeout=30) as client:
        yield client


@pytest.fixture
async def home(http: httpx.AsyncClient) -> Workspace:
    return await another(http)


async def test_both_files_are_taken_together(home: Workspace):
    nodes = (
        NODES
        + 'N007,Ahab,"The\ncaptain.",,"[{""type"": ""text""}, {""component_id"": ""face"", ""type"": ""image""}]"\n'
    )
    report = await taken(home, nodes + ",Ishmael,,,\n", RELATIONSHIPS + ",N007,N007,hunts,0.5,\n")
    assert [report[name] for name in ("nodes", "components", "relationships", "rows_written")] == [2, 2, 1, 5]
    assert (await home.read("/nodes/N007"))["content"] == "The\ncaptain."
    assert (await home.sequence("N007"))[1] == "face"
    assert (await home.read("/nodes/N008"))["title"] == "Ishmael"
    [edge] = (await home.read("/relationships"))["items"]
    assert (edge["from_node"], edge["to_node"], edge["weight"]) == ("N007", "N007", 0.5)


async def test_one_file_comes_as_it_is_and_its_header_says_which(home: Workspace):
    for text in ("title\nAhab\n", "from_node,to_node,type\nN001,N001,is\n"):
        answer = await home.ask("POST", "/import", headers={"Content-Type": "text/csv"}, content=text)
        assert answer.status_code == 200, answer.text
        place = answer.headers["location"].removeprefix(f"/api/v1{home.path}")
        assert await home.read(place) == answer.json()


async def test_a_dry_run_tells_all_and_writes_nothing(home: Workspace):
    report = await taken(home, NODES + "N001,,,,\n", RELATIONSHIPS + ",N001,N001,is,,\n", dry_run=True)
    assert (report["dry_run"], report["nodes"], report["rows_written"]) == (True, 1, 0)
    assert (await home.read("/nodes"))["items"] == []


async def test_every_fault_is_told_at_its_line_and_column_and_nothing_is_kept(home: Workspace):
    await taken(home, NODES + "N001,,,,\n")
    nodes = NODES + 'N002,fine,,,\nN001,,,,\nN003,"a\nb",,{,\nN002,,,,\nN004,,,,"[{""type"": """"}]"\nN005,x\n'
    found = await refused(home, nodes, RELATIONSHIPS + ",N002,N009,,,\na,N001,N002,is,x,\na,N001,N002,is,,\n")
    assert [(file, line, column) for file, line, column, _ in found] == [
        ("nodes", 3, "node_id"),
        ("nodes", 4, "title"),
        ("nodes", 5, "metadata"),
        ("nodes", 6, "node_id"),
        ("nodes", 7, "components"),
        ("nodes", 8, None),
        ("relationships", 2, "type"),
        ("relationships", 2, "to_node"),
        ("relationships", 3, "weight"),
        ("relationships", 4, "relationship_id"),
    ]
    assert [found[0][3], found[3][3], found[7][3]] == [
        "is in the session already",
        "the same node as in line 2",
        "there is no such node",
    ]
    assert [row["node_id"] for row in (await home.read("/nodes"))["items"]] == ["N001"]


async def test_a_thousand_faults_are_told_and_that_there_are_more(home: Workspace):
    answer = await send(home, NODES + "x,,,,\n" * 1_001)
    report = answer.json()["report"]
    assert (len(report["errors"]), report["more_errors"]) == (1_000, True)


async def test_a_row_that_is_there_is_written_over_where_that_is_wanted(home: Workspace):
    await taken(
        home,
        NODES
        + 'N001,old,x,,"[{""component_id"": ""a"", ""type"": ""t""}, {""component_id"": ""b"", ""type"": ""t""}]"\n',
    )
    report = await taken(
        home,
        NODES
        + 'N001,new,,,"[{""component_id"": ""c"", ""type"": ""t""}, {""component_id"": ""b"", ""type"": ""t""}]"\n',
        existing="replace",
    )
    row = await home.read("/nodes/N001")
    assert (row["title"], row["content"], report["removed"]) == ("new", "", 1)
    assert await home.sequence("N001") == ["c", "b"]


async def test_components_stay_where_a_file_says_nothing_of_them(home: Workspace):
    await home.lay("a", "b")
    await taken(home, "node_id,title\nN001,new\n", existing="replace")
    assert await home.sequence("N001") == ["a", "b"]


async def test_a_component_of_another_node_is_not_taken_from_it(home: Workspace):
    await home.lay("a")
    nodes = NODES + 'N002,,,,"[{""component_id"": ""a"", ""type"": ""t""}]"\n'
    [(_, line, column, reason)] = await refused(home, nodes, existing="replace")
    assert (line, column) == (2, "components")
    assert "of another node" in reason


async def test_the_same_relationships_again_are_the_same_rows(home: Workspace):
    nodes, edges = NODES + "N001,,,,\n", RELATIONSHIPS + ",N001,N001,is,1,\n,N001,N001,is,2,\n"
    await taken(home, nodes, edges)
    first = await exported(home, "relationships.csv")
    await taken(home, None, edges, existing="replace")
    assert await exported(home, "relationships.csv") == first


async def test_removed_rows_come_back_and_numbers_that_were_given_do_not(home: Workspace):
    await taken(home, NODES + "N001,,,,\nN002,,,,\n")
    for node in ("N001", "N002"):
        assert (await home.ask("DELETE", f"/nodes/{node}")).status_code == 204
    await taken(home, NODES + "N001,again,,,\n,next,,,\n")
    assert [row["title"] for row in (await home.read("/nodes"))["items"]] == ["again", "next"]
    assert (await home.read("/nodes/N003"))["title"] == "next"


async def test_a_request_that_is_no_import_is_told_what_one_is(home: Workspace):
    for sent in ({"content": b"x"}, {"files": {"edges": b"x"}}, {"data": {"nodes": "x"}}):
        answer = await home.ask("POST", "/import", **sent)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert [(line, reason) for _, line, _, reason in await refused(home, "")] == [
        (1, "the file is empty: it has no header")
    ]


async def test_no_more_is_received_than_one_import_may_be(serving: Serving):
    async with serving(import_bytes=5_000) as live, httpx.AsyncClient(base_url=f"{live.url}/api/v1") as http:
        home = await another(http)

        async def dripping() -> AsyncIterator[bytes]:
            for _ in range(6):
                yield b"x" * 1_000

        for sent in (b"x" * 5_001, dripping()):
            answer = await home.ask("POST", "/import", headers={"Content-Type": "text/csv"}, content=sent)
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_room_for_all_of_it_is_looked_at_before(serving: Serving):
    async with serving(rows_per_owner=3) as live, httpx.AsyncClient(base_url=f"{live.url}/api/v1") as http:
        home = await another(http)
        [(_, _, _, reason)] = await refused(home, NODES + ",,,,\n" * 3)
        assert reason == "3 more rows, and this reader may have 2 more"
        await taken(home, NODES + ",,,,\n" * 2)


async def test_nobody_else_s_session_takes_or_tells_anything(home: Workspace, http: httpx.AsyncClient):
    report = await taken(home, NODES + "N001,,,,\n")
    stranger = Workspace(http, home.path, (await begun(http)).key)
    place = f"/import/{report['import_id']}"
    asked = [("POST", "/import"), ("GET", place), ("DELETE", place), ("GET", "/export")]
    files = [("GET", f"/export/{name}") for name in ("nodes.csv", "relationships.csv", "graph.json")]
    for method, path in asked + files:
        answer = await stranger.ask(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_an_import_that_is_sent_again_under_its_id_is_not_done_again(home: Workspace):
    name = str(uuid4())
    first = await taken(home, NODES + ",Ahab,,,\n", import_id=name)
    assert await taken(home, NODES + ",Ahab,,,\n", import_id=name) == first
    assert len((await home.read("/nodes"))["items"]) == 1


async def test_one_that_runs_tells_how_far_it_is_and_can_be_cancelled(
    home: Workspace, sql: psycopg.Connection, database
):
    await taken(home, NODES + "N001,,,,\n")
    with psycopg.connect(database.owner) as other:
        other.execute("SELECT FROM nodes FOR UPDATE")
        answer = await send(home, NODES + "N002,,,,\nN001,new,,,\n", existing="replace", wait=0)
        assert answer.status_code == 202
        place = answer.headers["location"].removeprefix(f"/api/v1{home.path}")
        await asyncio.to_thread(until_locked_out, sql, "%FOR UPDATE%")
        running = await home.read(place)
        assert [running[name] for name in ("state", "phase", "rows", "rows_read")] == ["running", "writing", 2, 2]
        again = await send(home, NODES)
        assert (again.status_code, again.json()["code"]) == (429, "rate_limited")
        assert "retry-after" in again.headers
        assert (await home.ask("DELETE", place)).status_code == 204
    ended = await home.read(place, wait=10)
    assert (ended["state"], ended["retry"]) == ("cancelled", False)
    assert [row["title"] for row in (await home.read("/nodes"))["items"]] == [""]


async def test_another_process_cancels_it_too(home: Workspace, serving: Serving, database):
    await taken(home, NODES + "N001,,,,\n")
    async with serving() as second, httpx.AsyncClient(base_url=f"{second.url}/api/v1", timeout=30) as http:
        there = Workspace(http, home.path, home.key)
        with psycopg.connect(database.owner) as other:
            other.execute("SELECT FROM nodes FOR UPDATE")
            answer = await send(home, NODES + "N001,new,,,\n", existing="replace", wait=0)
            place = answer.headers["location"].removeprefix(f"/api/v1{home.path}")
            assert (await there.read(place))["state"] == "running"
            assert (await there.ask("DELETE", place)).status_code == 204
            assert (await there.read(place, wait=20))["state"] == "cancelled"


async def test_a_server_that_stops_says_to_send_it_again(serving: Serving, sql: psycopg.Connection, database):
    async with serving() as live, httpx.AsyncClient(base_url=f"{live.url}/api/v1", timeout=30) as http:
        home = await another(http)
        await taken(home, NODES + "N001,,,,\n")
        with psycopg.connect(database.owner) as other:
            other.execute("SELECT FROM nodes FOR UPDATE")
            waiting = asyncio.create_task(send(home, NODES + "N001,new,,,\n", existing="replace"))
            await asyncio.to_thread(until_locked_out, sql, "%FOR UPDATE%")
            await live.parts.imports.close()
            answer = await waiting
    assert (answer.status_code, answer.json()["report"]["state"], answer.json()["report"]["retry"]) == (
        503,
        "failed",
        True,
    )
    assert sql.execute("SELECT title FROM nodes").fetchall() == [("",)]


async def test_one_whose_server_died_has_failed_and_stands_in_no_other_s_way(home: Workspace, sql: psycopg.Connection):
    name = str(uuid4())
    sql.execute("SET syncserver.owners = '{}'")
    sql.execute(
        "INSERT INTO imports (owner, id, session_id, state, seen_at)"
        " SELECT owner, %s, id, 'running', now() - interval '1 minute' FROM sessions",
        [name],
    )
    told = await home.read(f"/import/{name}", wait=30)
    assert (told["state"], told["retry"]) == ("failed", True)
    await taken(home, NODES + "N001,,,,\n")
    assert (await home.read(f"/import/{name}"))["state"] == "failed"


async def test_a_write_that_comes_between_reading_and_writing_is_not_overwritten(
    home: Workspace, live: Live, monkeypatch: pytest.MonkeyPatch
):
    whole = live.parts.whole.stream
    written: list[Raw] = []

    async def late(*arguments, **more):
        if not written:
            written.append(await home.made("/nodes", node_id="N001", title="mine"))
        return await whole(*arguments, **more)

    monkeypatch.setattr(live.parts.whole, "stream", late)
    assert await refused(home, NODES + "N001,theirs,,,\n") == [("nodes", 2, "node_id", "is in the session already")]
    assert (await home.read("/nodes/N001"))["title"] == "mine"
