"""Mutations that wait for others: `after`, temporary names, and what becomes of them when those fail or never came."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
import sqlalchemy as sa

from syncserver.core import values
from syncserver.core.actor import Device
from syncserver.engine.decide import Sender
from syncserver.engine.push import Push
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog, Resource

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PHONE = Sender("user:ada", Device("phone"), "ada's phone")
TABLET = Sender("user:ada", Device("tablet"), "ada's tablet")
Raw = dict[str, Any]


class Talk(values.Model):
    title: str | None = None
    parent: str | None = None


def _resource(name: str) -> Resource:
    table = sa.Table(
        name,
        sa.MetaData(),
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("title", sa.Text),
        sa.Column("parent", sa.Text),
        sa.Column("device_id", sa.Text),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    return Resource(name, table, "id", Talk, make_key=lambda: str(uuid4()))


TALKS = Catalog([_resource("talks")])


@pytest.fixture
async def push(server: Database, sql: psycopg.Connection) -> AsyncIterator[Push]:
    sql.execute("""
        CREATE TABLE talks (owner text, id text, title text CHECK (title <> 'taboo'), parent text, device_id text,
          updated_at timestamptz NOT NULL, PRIMARY KEY (owner, id));
        SELECT sync_track_v4('talks', 'talks', 'id'), sync_isolate_v1('talks');
        GRANT SELECT, INSERT, UPDATE, DELETE ON talks TO syncserver_app;
    """)
    door = Push(server, TALKS, lambda: NOW)
    task = asyncio.create_task(door.run())
    yield door
    task.cancel()


_seconds = count(1)


def put(key: Any, title: Any = "a", **more: Any) -> Raw:
    """A put that is newer than every one made before it."""
    stamp = NOW - timedelta(days=1) + timedelta(seconds=next(_seconds))
    mutation = {"mutation_id": str(uuid4()), "resource": "talks", "key": key, "op": "put", "data": {"title": title}}
    return {**mutation, "updated_at": stamp.isoformat(), **more}


def temp(name: str) -> Raw:
    return {"temp": name}


def dollar(name: str) -> Raw:
    return {"$temp": name}


async def pushed(door: Push, *mutations: Raw, by: Sender = PHONE) -> list[Raw]:
    return orjson.loads(orjson.dumps(await door.push(by, mutations)))  # type: ignore[no-any-return]


def results(acks: list[Raw]) -> list[tuple[str, str | None]]:
    return [(ack["status"], ack.get("code")) for ack in acks]


def titles(sql: psycopg.Connection) -> list[tuple[Any, ...]]:
    return sql.execute("SELECT title, parent FROM talks ORDER BY title").fetchall()


# -- after -------------------------------------------------------------------


async def test_what_comes_after_one_that_worked_is_done(push: Push, sql):
    first = put("a", "first")
    second = put("b", "second", after=[first["mutation_id"]])
    assert results(await pushed(push, first, second)) == [("applied", None)] * 2
    third = put("c", "third", after=[first["mutation_id"], second["mutation_id"]])
    assert results(await pushed(push, third)) == [("applied", None)]
    assert [title for title, _ in titles(sql)] == ["first", "second", "third"]


@pytest.mark.parametrize(
    "bad",
    [{"data": {"title": 5}}, {"data": None}, {"resource": "none"}, {"data": {"title": "taboo"}}, {"key": ["no"]}],
    ids=["invalid", "malformed", "unknown resource", "refused by the database", "unreadable key"],
)
@pytest.mark.parametrize("together", [True, False])
async def test_what_comes_after_a_rejected_one_is_rejected_and_what_does_not_is_done(push, sql, bad, together):
    first = {**put("a"), **bad}
    second = put("b", "second", after=[first["mutation_id"]])
    third = put("c", "third", after=[second["mutation_id"]])
    other = put("d", "other")
    if together:
        acks = await pushed(push, first, second, third, other)
    else:
        acks = [ack for mutation in (first, second, third, other) for ack in await pushed(push, mutation)]
    assert acks[0]["status"] == "rejected"
    assert results(acks[1:]) == [("rejected", "dependency_failed")] * 2 + [("applied", None)]
    assert titles(sql) == [("other", None)]


async def test_what_comes_after_one_that_nobody_has_seen_waits_until_that_is_sent(push: Push, sql):
    first = put("a", "first")
    second = put("b", "second", after=[first["mutation_id"]])
    third = put("c", "third", after=[second["mutation_id"]])
    assert results(await pushed(push, second, third)) == [("deferred", "dependency_unknown")] * 2
    assert titles(sql) == []
    assert results(await pushed(push, first, second, third)) == [("applied", None)] * 3


async def test_one_that_lost_against_a_newer_write_stands_in_nobodys_way(push: Push):
    [winner] = await pushed(push, put("a", "newer"), by=TABLET)
    loser = put("a", "older", updated_at="2026-02-01T11:00:00Z")
    behind = put("b", after=[loser["mutation_id"]])
    assert winner["status"] == "applied"
    assert [ack["status"] for ack in await pushed(push, loser, behind)] == ["superseded", "applied"]


async def test_another_clients_mutations_cannot_be_waited_for(push: Push):
    first = put("a")
    await pushed(push, first)
    acks = await pushed(push, put("b", after=[first["mutation_id"]]), by=TABLET)
    assert results(acks) == [("deferred", "dependency_unknown")]


# -- temporary names ---------------------------------------------------------


async def test_a_temporary_name_becomes_a_key_that_the_ack_tells_and_others_may_use(push: Push, sql):
    acks = await pushed(
        push,
        put(temp("chat"), "chat"),
        put(temp("line"), "line", data={"title": "line", "parent": dollar("chat")}),
        {**put(temp("chat")), "op": "patch", "data": {"title": "chat, renamed"}},
    )
    assert [ack["status"] for ack in acks] == ["applied"] * 3
    chat, line = acks[0]["id_map"]["chat"], acks[1]["id_map"]["line"]
    assert UUID(chat) != UUID(line)
    assert (acks[1]["id_map"], acks[2]["id_map"]) == ({"line": line, "chat": chat}, {"chat": chat})
    assert titles(sql) == [("chat, renamed", None), ("line", chat)]


async def test_the_mapping_is_kept_for_later_pushes_and_for_retries(push: Push, sql):
    make = put(temp("chat"), "chat")
    [first] = await pushed(push, make)
    [again] = await pushed(push, make)
    assert again == {**first, "status": "duplicate"}
    [line] = await pushed(push, put("line", data={"title": "line", "parent": dollar("chat")}))
    assert line["id_map"] == first["id_map"]
    [over] = await pushed(push, put(temp("chat"), "written over"))
    assert over["id_map"] == first["id_map"]
    assert titles(sql) == [("line", first["id_map"]["chat"]), ("written over", None)]


async def test_each_clients_names_are_its_own(push: Push):
    [mine] = await pushed(push, put(temp("chat")))
    [theirs] = await pushed(push, put(temp("chat")), by=TABLET)
    assert mine["id_map"] != theirs["id_map"]


@pytest.mark.parametrize(
    "bad",
    [{"data": {"title": 5}}, {"data": {"title": "taboo"}}, {"policy": "luck"}],
    ids=["invalid", "refused", "read"],
)
@pytest.mark.parametrize("together", [True, False])
async def test_what_uses_the_name_of_a_rejected_row_is_rejected_until_the_name_is_made(push, sql, bad, together):
    make = {**put(temp("chat")), **bad}
    line = put("line", data={"title": "line", "parent": dollar("chat")})
    if together:
        acks = await pushed(push, make, line)
    else:
        acks = [*await pushed(push, make), *await pushed(push, line)]
    assert acks[0]["status"] == "rejected"
    assert "id_map" not in acks[0]
    assert results(acks[1:]) == [("rejected", "dependency_failed")]
    mended = await pushed(push, put(temp("chat"), "mended"), {**line, "mutation_id": str(uuid4())})
    assert results(mended) == [("applied", None)] * 2
    assert titles(sql) == [("line", mended[0]["id_map"]["chat"]), ("mended", None)]


async def test_what_uses_a_name_that_nothing_has_made_waits(push: Push, sql):
    make = put(temp("chat"), "chat")
    line = put("line", data={"title": "line", "parent": dollar("chat")})
    edit = {**put(temp("chat")), "op": "patch"}
    assert results(await pushed(push, line, edit)) == [("deferred", "dependency_unknown")] * 2
    assert results(await pushed(push, make, line, edit)) == [("applied", None)] * 3
    assert sql.execute("SELECT count(*) FROM mutations").fetchone() == (3,)


async def test_where_clients_make_the_keys_a_temporary_one_is_refused(server: Database, catalog: Catalog):
    door = Push(server, catalog, lambda: NOW)
    task = asyncio.create_task(door.run())
    [ack] = await pushed(door, {**put(temp("book")), "resource": "progress", "data": {}})
    task.cancel()
    assert (ack["status"], ack["code"]) == ("rejected", "invalid")


async def test_a_name_in_the_data_is_checked_as_the_key_that_it_became(push: Push):
    await pushed(push, put(temp("chat")))
    [ack] = await pushed(push, put("x", data={"title": dollar("chat"), "parent": {"$temp": "chat", "more": 1}}))
    assert (ack["status"], ack["code"]) == ("rejected", "invalid")
