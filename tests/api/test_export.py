"""Exports: what imports back to the same graph, byte for byte, and what networkx reads."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncserver.api.imports import _NODES
from tests.api.filed import NODES, RELATIONSHIPS, exported, taken
from tests.api.workspaces import Workspace, another
from tests.harness import Serving

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
TITLE = st.one_of(
    st.sampled_from(["", " lead", "=1+1", 'a "quoted", title', "-", "\u2028", "null"]),
    st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
)
LINES = st.one_of(st.sampled_from(["", "\n", "\r\n", '"', "a,b\r", "\ufeff"]), TEXT)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=2)
TYPE = TITLE.filter(bool)
NODE = st.fixed_dictionaries(
    {"title": TITLE, "content": LINES, "metadata": OBJECT, "components": st.lists(st.tuples(TYPE, OBJECT), max_size=3)}
)
EDGE = st.tuples(st.integers(0, 9), st.integers(0, 9), TYPE, st.floats(allow_nan=False, allow_infinity=False), OBJECT)


@pytest.fixture
async def http(serving: Serving) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(mutations_per_s=0, requests_per_s=0, sessions_per_minute=0) as live,
        httpx.AsyncClient(base_url=f"{live.url}/api/v1", timeout=30) as client,
    ):
        yield client


async def lay(home: Workspace, nodes: list[dict[str, Any]], edges: list[tuple[Any, ...]]) -> None:
    """Make a graph such as that, by the other door."""
    ids = [f"N{number:03}" for number in range(1, len(nodes) + 1)]
    components = [
        {"node_id": node, "component_id": f"{node}.{place}", "type": kind, "config": config}
        for node, row in zip(ids, nodes, strict=True)
        for place, (kind, config) in enumerate(row["components"])
    ]
    rows = [{"node_id": node, **row, "components": None} for node, row in zip(ids, nodes, strict=True)]
    relationships = [
        {
            "relationship_id": f"r{number}",
            "from_node": ids[start % len(ids)],
            "to_node": ids[end % len(ids)],
            "type": kind,
            "weight": weight,
            "metadata": metadata,
        }
        for number, (start, end, kind, weight, metadata) in enumerate(edges)
    ]
    for row in rows:
        del row["components"]
    body = {"nodes": rows, "components": components, "relationships": relationships}
    answer = await home.ask("POST", "/bulk", body)
    assert answer.status_code < 300, answer.text


async def files(home: Workspace) -> list[str]:
    return [await exported(home, name) for name in ("nodes.csv", "relationships.csv")]


async def graph(home: Workspace, **query: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await exported(home, "graph.json", **query))
    assert UUID(found.pop("graph")["session_id"]) == UUID(home.id)
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nodes=st.lists(NODE, min_size=1, max_size=4), edges=st.lists(EDGE, max_size=4))
async def test_what_was_exported_imports_to_the_same(
    http: httpx.AsyncClient, nodes: list[dict[str, Any]], edges: list[tuple[Any, ...]]
):
    home, copy = await another(http), await another(http)
    await lay(home, nodes, edges)
    first = await files(home)
    await taken(copy, *first)
    assert await files(copy) == first
    assert await graph(copy) == await graph(home)


async def test_an_empty_workspace_is_headers(http: httpx.AsyncClient):
    home = await another(http)
    assert await files(home) == [NODES, RELATIONSHIPS]
    assert await graph(home) == {"directed": True, "multigraph": True, "nodes": [], "edges": []}
    await taken(home, *await files(home))


async def test_node_link_json_has_the_shape_that_networkx_reads(http: httpx.AsyncClient):
    home = await another(http)
    component = '"[{""component_id"": ""c"", ""type"": ""text""}]"'
    await taken(
        home, NODES + f'N001,Ahab,x,"{{""a"": 1}}",{component}\nN002,,,,\n', RELATIONSHIPS + "e,N001,N002,hunts,0.5,\n"
    )
    node = {"title": "Ahab", "content": "x", "metadata": {"a": 1}}
    edge = {"source": "N001", "target": "N002", "key": "e", "type": "hunts", "weight": 0.5, "metadata": {}}
    expected = {
        "directed": True,
        "multigraph": True,
        "nodes": [
            {"id": "N001", **node, "components": [{"component_id": "c", "type": "text", "config": {}}]},
            {"id": "N002", "title": "", "content": "", "metadata": {}, "components": []},
        ],
    }
    assert await graph(home) == {**expected, "edges": [edge]}
    assert await graph(home, edges="links") == {**expected, "links": [edge]}


async def test_nodes_without_edges_have_an_empty_list_of_them(http: httpx.AsyncClient):
    home = await another(http)
    await taken(home, NODES + "N001,,,,\n")
    assert (await graph(home))["edges"] == []


async def test_nodes_stand_in_the_order_of_their_numbers(http: httpx.AsyncClient):
    home = await another(http)
    await taken(home, NODES + "".join(f"{node},,,,\n" for node in ("N1000", "N999", "N002")))
    assert [line.split(",")[0] for line in (await files(home))[0].splitlines()[1:]] == ["N002", "N999", "N1000"]


async def test_sessions_export_their_own_rows_alone_and_each_file_is_listed(http: httpx.AsyncClient):
    home, other = await another(http), await another(http)
    await taken(home, NODES + "N001,mine,,,\n")
    await taken(other, NODES + "N001,theirs,,,\n")
    assert "theirs" not in "".join(await files(home)) + json.dumps(await graph(home))
    for file in (await home.read("/export"))["files"]:
        answer = await home.ask("GET", file["url"].removeprefix(f"/api/v1{home.path}"))
        assert (answer.status_code, answer.headers["content-type"]) == (200, file["type"])


async def test_the_example_of_the_document_can_be_imported(http: httpx.AsyncClient):
    await taken(await another(http), _NODES)
