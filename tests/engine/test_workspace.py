"""The workspace through the write door: numbers, rows that name each other, and what goes with a node."""

from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest

from syncserver.core.actor import Device, session_owner
from syncserver.engine.claim import Claim
from syncserver.engine.decide import Sender
from syncserver.engine.push import Push
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog
from tests.engine.conftest import NOW

Raw = dict[str, Any]
ADA = Sender("user:ada", Device("phone"), "ada's phone")


@pytest.fixture
def place(sql: psycopg.Connection) -> str:
    """A session of ada's."""
    place = str(uuid4())
    sql.execute("INSERT INTO sessions (owner, id) VALUES ('user:ada', %s)", [place])
    return place


_seconds = count(1)


def _stamp() -> str:
    """Later than every one before it."""
    return (NOW - timedelta(days=1) + timedelta(seconds=next(_seconds))).isoformat()


def put(resource: str, key: Any, **fields: Any) -> Raw:
    return {
        "mutation_id": str(uuid4()),
        "resource": resource,
        "key": key,
        "op": "put",
        "data": fields,
        "updated_at": _stamp(),
    }


def removal(resource: str, key: str) -> Raw:
    return {"mutation_id": str(uuid4()), "resource": resource, "key": key, "op": "remove", "updated_at": _stamp()}


async def pushed(door: Push, *mutations: Raw, by: Sender = ADA) -> list[Raw]:
    return orjson.loads(orjson.dumps(await door.push(by, mutations)))  # type: ignore[no-any-return]


def results(acks: list[Raw]) -> list[Any]:
    return [ack.get("code", ack["status"]) for ack in acks]


def keys(sql: psycopg.Connection, table: str) -> list[str]:
    return [str(key) for (key,) in sql.execute(f"SELECT id FROM {table} ORDER BY owner, id".encode())]


# -- numbers -----------------------------------------------------------------


async def test_nodes_without_a_key_are_numbered_in_their_session(push: Push, sql: psycopg.Connection, place: str):
    nodes = [put("nodes", {"temp": name}, session_id=place, title=name) for name in "abc"]
    acks = await pushed(push, *nodes)
    assert [ack["id_map"] for ack in acks] == [{n: f"{place}:N00{i}"} for i, n in enumerate("abc", 1)]
    assert sql.execute("SELECT node_id, title FROM nodes ORDER BY number").fetchall() == [
        ("N001", "a"),
        ("N002", "b"),
        ("N003", "c"),
    ]
    assert results(await pushed(push, *nodes)) == ["duplicate"] * 3


async def test_a_number_is_past_all_that_ever_were_and_those_that_come_along(push: Push, place: str):
    assert results(await pushed(push, put("nodes", f"{place}:N041"))) == ["applied"]
    assert results(await pushed(push, removal("nodes", f"{place}:N041"))) == ["applied"]
    [one] = await pushed(push, put("nodes", {"temp": "x"}, session_id=place))
    assert one["id_map"] == {"x": f"{place}:N042"}
    other, two = await pushed(push, put("nodes", f"{place}:N1000"), put("nodes", {"temp": "y"}, session_id=place))
    assert other["status"] == "applied"
    assert two["id_map"] == {"y": f"{place}:N1001"}


@pytest.mark.parametrize("own", ["N1", "N01", "N0001", "N000", "n001", "M001", "N1234567890", "N001:x", "", " N001"])
async def test_a_node_s_id_is_a_number_in_one_way_of_writing_only(push: Push, place: str, own: str):
    assert results(await pushed(push, put("nodes", f"{place}:{own}"))) == ["invalid"]


async def test_a_temporary_name_stands_for_a_node_of_one_session(push: Push, sql: psycopg.Connection, place: str):
    other = str(uuid4())
    sql.execute("INSERT INTO sessions (owner, id) VALUES ('user:ada', %s)", [other])
    [made] = await pushed(push, put("nodes", {"temp": "x"}, session_id=place))
    await pushed(push, removal("nodes", made["id_map"]["x"]))
    assert results(await pushed(push, put("nodes", {"temp": "x"}, session_id=other))) == ["invalid"]
    patch = {**put("nodes", {"temp": "x"}, title="again"), "op": "patch"}
    assert results(await pushed(push, patch)) == ["removed"]


# -- rows that name each other -----------------------------------------------


async def test_what_is_written_offline_names_nodes_that_have_no_number_yet(
    push: Push, sql: psycopg.Connection, place: str
):
    acks = await pushed(
        push,
        put("nodes", {"temp": "a"}, session_id=place),
        put("nodes", {"temp": "b"}, session_id=place),
        put("node_components", f"{place}:c1", node_id={"$temp": "a"}, type="text"),
        put("session_relationships", f"{place}:r1", from_node={"$temp": "a"}, to_node={"$temp": "b"}, type="knows"),
    )
    assert results(acks) == ["applied"] * 4
    assert sql.execute("SELECT node_id FROM node_components").fetchall() == [("N001",)]
    assert sql.execute("SELECT from_node, to_node, weight FROM session_relationships").fetchall() == [
        ("N001", "N002", 1)
    ]


async def test_a_relationship_needs_both_of_its_nodes_in_its_own_session(
    push: Push, sql: psycopg.Connection, place: str
):
    other = str(uuid4())
    sql.execute("INSERT INTO sessions (owner, id) VALUES ('user:ada', %s)", [other])
    await pushed(push, put("nodes", f"{place}:N001"), put("nodes", f"{other}:N002"))
    tries = [
        put("session_relationships", f"{place}:r1", from_node="N001", to_node="N002", type="knows"),
        put("session_relationships", f"{place}:r1", from_node="N001", to_node=f"{other}:N002", type="knows"),
        put("session_relationships", f"{place}:r1", session_id=other, from_node="N002", to_node="N002", type="knows"),
        put("nodes", f"{uuid4()}:N001"),
    ]
    assert results(await pushed(push, *tries)) == ["not_found", "invalid", "invalid", "not_found"]
    assert keys(sql, "session_relationships") == []


async def test_a_node_takes_its_components_and_relationships_along(push: Push, sql: psycopg.Connection, place: str):
    await pushed(
        push,
        put("nodes", f"{place}:N001"),
        put("nodes", f"{place}:N002"),
        put("node_components", f"{place}:c1", node_id="N001", type="text"),
        put("node_components", f"{place}:c2", node_id="N002", type="text"),
        put("session_relationships", f"{place}:r1", from_node="N001", to_node="N002", type="knows"),
        put("session_relationships", f"{place}:r2", from_node="N002", to_node="N001", type="knows"),
        put("session_relationships", f"{place}:r3", from_node="N002", to_node="N002", type="knows"),
    )
    acks = await pushed(
        push,
        removal("nodes", f"{place}:N001"),
        {**removal("node_components", f"{place}:c1"), "op": "patch", "data": {"type": "image"}},
        put("node_components", f"{place}:c3", node_id="N001", type="text"),
    )
    assert results(acks) == ["applied", "removed", "removed"]
    assert keys(sql, "node_components") == [f"{place}:c2"]
    assert keys(sql, "session_relationships") == [f"{place}:r3"]
    gone = sql.execute("SELECT resource, key FROM changes WHERE op = 'remove' ORDER BY 1, 2").fetchall()
    assert [key for _, key in gone] == [f"{place}:c1", f"{place}:N001", f"{place}:r1", f"{place}:r2"]


# -- sessions ----------------------------------------------------------------


async def test_the_same_ids_in_many_sessions_stay_apart_and_are_claimed_together(
    push: Push, server: Database, catalog: Catalog, sql: psycopg.Connection
):
    visitors = [uuid4() for _ in range(3)]
    for number, visitor in enumerate(visitors):
        owner, place = session_owner(visitor), str(visitor)
        sql.execute("INSERT INTO sessions (owner, id) VALUES (%s, %s)", [owner, place])
        rows = [
            put("nodes", f"{place}:N001", title=f"of {number}"),
            put("node_components", f"{place}:c1", node_id="N001", type=f"of {number}"),
            put("session_relationships", f"{place}:r1", from_node="N001", to_node="N001", type=f"of {number}"),
        ]
        sender = Sender(owner, Device("phone"), "phone")
        spare = [put("nodes", f"{place}:N005"), removal("nodes", f"{place}:N005")]
        assert results(await pushed(push, *rows, *spare, by=sender)) == ["applied"] * 5
    claim = Claim(server, catalog)
    for visitor in visitors:
        await claim.claim("user:ada", visitor)
    for table, column in (("nodes", "title"), ("node_components", "type"), ("session_relationships", "type")):
        found = sql.execute(f"SELECT owner, session_id, {column} FROM {table} ORDER BY 3".encode()).fetchall()
        assert found == [("user:ada", visitor, f"of {number}") for number, visitor in enumerate(visitors)]
    [one] = await pushed(push, put("nodes", {"temp": "x"}, session_id=str(visitors[0])))
    assert one["id_map"] == {"x": f"{visitors[0]}:N006"}, "the numbers of nodes that are gone came along"


async def test_a_session_that_goes_takes_its_workspace_along_and_no_other(
    push: Push, sql: psycopg.Connection, place: str
):
    other = str(UUID(int=7))
    sql.execute("INSERT INTO sessions (owner, id) VALUES ('user:ada', %s)", [other])
    for spot in (place, other):
        await pushed(push, put("nodes", f"{spot}:N001"), put("node_components", f"{spot}:c", node_id="N001", type="t"))
    sql.execute("DELETE FROM sessions WHERE id = %s", [place])
    assert keys(sql, "nodes") == [f"{other}:N001"]
    assert keys(sql, "node_components") == [f"{other}:c"]
    assert sql.execute("SELECT count(*) FROM changes WHERE op = 'remove'").fetchone() == (3,)
