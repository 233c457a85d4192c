"""How many rows an owner may have, over a real database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from syncserver.core.actor import Device
from syncserver.engine.decide import Sender
from syncserver.engine.push import Push
from syncserver.engine.quota import Quota
from syncserver.storage import changes, mutations, room
from syncserver.storage.database import Contention, Database
from syncserver.storage.resource import Catalog
from tests.engine.conftest import NOW

ADA, BEN = "user:ada", "user:ben"
Door = Callable[..., Any]


class Clock:
    """It stands until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def door(server: Database, catalog: Catalog, most: int, clock: Clock) -> AsyncIterator[Door]:
    """Pushes mutations of an owner and gives their statuses (a rejection as its code)."""
    push = Push(server, catalog, lambda: NOW, quota=Quota(most, clock))
    task = asyncio.create_task(push.run())

    async def pushed(*mutations: dict[str, Any], owner: str = ADA) -> list[str]:
        acks = await push.push(Sender(owner, Device("phone"), "client"), mutations)
        return [ack.get("code") or ack["status"] for ack in acks]

    yield pushed
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def put(key: object, **data: Any) -> dict[str, Any]:
    return {
        "mutation_id": str(uuid4()),
        "resource": "progress",
        "key": str(key),
        "op": "put",
        "policy": "client-wins",
        "data": {"percentage": 0.5, **data},
    }


def remove(key: object) -> dict[str, Any]:
    gone = {"mutation_id": str(uuid4()), "resource": "progress", "key": str(key), "op": "remove"}
    return {**gone, "policy": "client-wins"}


async def test_past_the_limit_a_new_row_is_refused_and_stands_in_nobodys_way(
    server: Database, catalog: Catalog, clock: Clock
):
    async with door(server, catalog, 3, clock) as push:
        assert await push(*map(put, range(5))) == ["applied"] * 3 + ["quota"] * 2
        assert await push(put(0, percentage=0.7), put(9), remove(1)) == ["applied", "quota", "applied"]
        assert await push(*map(put, range(3)), owner=BEN) == ["applied"] * 3


async def test_removing_makes_room_at_once_and_once(server: Database, catalog: Catalog, clock: Clock):
    async with door(server, catalog, 2, clock) as push:
        assert await push(put("a"), put("b"), put("c")) == ["applied", "applied", "quota"]
        assert await push(remove("a"), put("c"), put("d")) == ["applied", "applied", "quota"]
        assert await push(remove("a"), put("d")) == ["applied", "quota"]
        assert await push(remove("b"), remove("c"), put("a"), put("b"), put("c")) == [*["applied"] * 4, "quota"]


async def test_what_is_changed_often_is_one_row(server: Database, catalog: Catalog, clock: Clock):
    async with door(server, catalog, 2, clock) as push:
        for number in range(10):
            assert await push(put("a", percentage=number / 10)) == ["applied"]
        assert await push(put("b"), put("c")) == ["applied", "quota"]


async def test_the_refusal_is_the_answer_for_good(server: Database, catalog: Catalog, clock: Clock):
    async with door(server, catalog, 1, clock) as push:
        late = put("b")
        assert await push(put("a"), late) == ["applied", "quota"]
        assert await push(remove("a"), late) == ["applied", "quota"]
        assert await push({**late, "mutation_id": str(uuid4())}) == ["applied"]


async def test_what_others_write_is_seen_after_a_minute(
    server: Database, catalog: Catalog, clock: Clock, sql: psycopg.Connection
):
    async with door(server, catalog, 3, clock) as push:
        assert await push(put("a")) == ["applied"]
        sql.execute(
            "INSERT INTO reading_progress (owner, publication_id, updated_at)"
            " SELECT 'user:ada', n::text, now() FROM generate_series(1, 5) AS n"
        )
        clock.now += 60
        assert await push(put("b")) == ["quota"]
        sql.execute("DELETE FROM reading_progress WHERE owner = 'user:ada'")
        assert await push(put("b")) == ["quota"]
        clock.now += 60
        assert await push(*map(put, "bcde")) == ["applied"] * 3 + ["quota"]


async def test_below_the_limit_nobody_is_counted_and_heads_are_asked_once_a_minute(
    server: Database, catalog: Catalog, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    asked: list[list[str]] = []

    async def never(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(room, "rows", never)
    really = changes.newest

    async def noted(connection: Any, owners: Any) -> Any:
        asked.append(list(owners))
        return await really(connection, owners)

    monkeypatch.setattr(changes, "newest", noted)
    async with door(server, catalog, 1_000, clock) as push:
        for number in range(5):
            await push(put(number))
        clock.now += 60
        await push(put("later"))
    assert asked == [[ADA], [ADA]]


async def test_a_transaction_that_is_replayed_takes_its_room_once(
    server: Database, catalog: Catalog, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    really, fails = mutations.recorded, [Contention("40001")] * 3

    def contended(*arguments: Any) -> Any:
        if fails:
            raise fails.pop()
        return really(*arguments)

    monkeypatch.setattr(mutations, "recorded", contended)
    async with door(server, catalog, 2, clock) as push:
        assert await push(put("a"), put("b")) == ["applied"] * 2
        assert not fails
        assert await push(put("c")) == ["quota"]
        assert await push(remove("a"), put("c")) == ["applied"] * 2


async def test_no_limit_is_none(server: Database, catalog: Catalog, clock: Clock):
    async with door(server, catalog, 0, clock) as push:
        assert await push(*map(put, range(50))) == ["applied"] * 50


async def test_what_the_same_transaction_has_inserted_before_counts_once(
    server: Database, catalog: Catalog, clock: Clock
):
    """What comes after something is looked at anew, when rows of this transaction are in the log already."""
    async with door(server, catalog, 4, clock) as push:
        first = put("a")
        later = [{**put(key), "after": [first["mutation_id"]]} for key in "cde"]
        assert await push(first, put("b"), *later) == [*["applied"] * 4, "quota"]


async def test_an_estimate_that_runs_out_within_a_transaction_is_counted(
    server: Database, catalog: Catalog, clock: Clock
):
    async with door(server, catalog, 10, clock) as push:
        assert await push(put("a", percentage=0.1)) == ["applied"]
        assert await push(put("a", percentage=0.2)) == ["applied"]
    async with door(server, catalog, 4, clock) as push:  # two changes, one row: room for two at least, really for three
        first = put("b")
        assert await push(first, put("c"), {**put("d"), "after": [first["mutation_id"]]}) == ["applied"] * 3
        assert await push(put("e")) == ["quota"]


def of(resource: str, op: str = "put", key: str | None = None, **data: Any) -> dict[str, Any]:
    made = {"mutation_id": str(uuid4()), "resource": resource, "key": key or str(uuid4()), "op": op}
    return {**made, "policy": "client-wins", "data": data}


async def test_a_save_leaves_an_event_while_there_is_room_and_is_never_refused_for_want_of_it(
    server: Database, catalog: Catalog, clock: Clock, sql: psycopg.Connection
):
    begun = of("reading_sessions", publication_id="moby")
    async with door(server, catalog, 4, clock) as push:
        assert await push(begun) == ["applied"]
        for tenths in range(1, 6):
            assert await push(of("reading_sessions", "patch", begun["key"], percentage=tenths / 10)) == ["applied"]
    assert sql.execute("SELECT count(*) FROM session_events").fetchone() == (3,)
    assert sql.execute("SELECT percentage FROM reading_sessions").fetchone() == (0.5,)


async def test_what_leaves_no_row_of_a_log_takes_the_room_of_one_row(server: Database, catalog: Catalog, clock: Clock):
    home = of("conversations", title="Ishmael")
    async with door(server, catalog, 3, clock) as push:
        assert await push(home) == ["applied"]
        messages = [of("messages", conversation_id=home["key"], role="user", content="Hi") for _ in range(3)]
        assert [(await push(message))[0] for message in messages] == ["applied", "applied", "quota"]
