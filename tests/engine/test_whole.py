"""Many mutations as one transaction: all hold or none does, and each that was refused is told by its place."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.actor import Device
from syncserver.core.errors import Invalid, NotFound, NotWhole, RateLimited, Unavailable
from syncserver.engine import whole as whole_module
from syncserver.engine.decide import Sender
from syncserver.engine.push import Push
from syncserver.engine.quota import Quota
from syncserver.engine.whole import Whole
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog
from tests.engine.conftest import NOW
from tests.engine.test_workspace import ADA, Raw, pushed, put, removal, results
from tests.harness import Urls, until_locked_out

TABLET = Sender("user:ada", Device("tablet"), "ada's tablet")
BEN = Sender("user:ben", Device("phone"), "ben's phone")


@pytest.fixture
def place(sql: psycopg.Connection) -> str:
    """A session of ada's."""
    place = str(uuid4())
    sql.execute("INSERT INTO sessions (owner, id) VALUES ('user:ada', %s)", [place])
    return place


@pytest.fixture
def whole(server: Database, catalog: Catalog) -> Whole:
    return Whole(server, catalog, lambda: NOW)


def given(*chunks: Sequence[Raw]) -> Callable[[], AsyncIterator[Sequence[Raw]]]:
    """These chunks, each time from the first."""

    async def chunk_by_chunk() -> AsyncIterator[Sequence[Raw]]:
        for chunk in chunks:
            yield chunk

    return chunk_by_chunk


def stored(sql: psycopg.Connection) -> dict[str, list[Any]]:
    """All that a write may leave, of everybody."""
    workspace = ("nodes", "node_components", "session_relationships", "node_numbers")
    tables = (*workspace, "mutations", "changes", "channels", "conflicts", "notes", "temporary_keys")
    return {name: sql.execute(f"SELECT * FROM {name} ORDER BY 1, 2".encode()).fetchall() for name in tables}


def graph(place: str, nodes: int) -> list[Raw]:
    """So many nodes, each with a component, and a relationship from each to the first."""
    own = [f"N{number:03}" for number in range(1, nodes + 1)]
    return [
        *(put("nodes", f"{place}:{node}", title=node) for node in own),
        *(put("node_components", f"{place}:c{node}", node_id=node, type="text") for node in own),
        *(put("session_relationships", f"{place}:r{n}", from_node=n, to_node=own[0], type="to") for n in own),
    ]


def refusals(raised: pytest.ExceptionInfo[NotWhole]) -> list[tuple[int, str]]:
    return [(refusal["place"], refusal["code"]) for refusal in raised.value.refusals]


# -- a list ------------------------------------------------------------------


async def test_all_of_a_list_is_written_in_one_transaction(whole: Whole, sql: psycopg.Connection, place: str):
    acks = await whole.write(ADA, graph(place, 150))
    assert [ack["status"] for ack in acks] == ["applied"] * 450
    assert sql.execute("SELECT count(DISTINCT xmin::text), count(*) FROM changes").fetchone() == (2, 451)
    assert sorted(ack["offset"] for ack in acks) == list(range(2, 452))


async def test_the_same_list_again_gets_the_first_answers_and_changes_nothing(
    whole: Whole, sql: psycopg.Connection, place: str
):
    rows = [put("nodes", {"temp": "a"}, session_id=place), *graph(place, 2)]
    first = await whole.write(ADA, rows)
    before = stored(sql)
    assert await whole.write(ADA, rows) == [{**ack, "status": "duplicate"} for ack in first]
    assert stored(sql) == before
    assert first[0]["id_map"] == {"a": f"{place}:N003"}, "past those that come along"


async def test_every_refusal_is_told_by_its_place_and_nothing_is_kept(
    whole: Whole, push: Push, sql: psycopg.Connection, place: str
):
    newer = put("nodes", f"{place}:N007", title="newer")
    older = {**put("nodes", f"{place}:N007", title="older"), "updated_at": "2026-02-01T00:00:00Z"}
    await pushed(push, newer, by=TABLET)
    before = stored(sql)
    bad = {**put("nodes", {"temp": "x"}, session_id=place), "data": {"session_id": place, "title": 5}}
    rows = [
        put("nodes", f"{place}:N001"),
        bad,
        put("node_components", f"{place}:c1", node_id={"$temp": "x"}, type="text"),
        put("node_components", f"{place}:c2", node_id="N009", type="text"),
        {**put("nodes", f"{place}:N002"), "mutation_id": "none"},
        older,
        put("node_components", f"{place}:c3", node_id={"$temp": "never made"}, type="text"),
        {**put("nodes", f"{place}:N003"), "resource": "cats"},
    ]
    with pytest.raises(NotWhole) as raised:
        await whole.write(ADA, rows)
    assert refusals(raised) == [
        (1, "invalid"),
        (2, "dependency_failed"),
        (3, "not_found"),
        (4, "invalid"),
        (5, "superseded"),
        (6, "dependency_unknown"),
        (7, "not_found"),
    ]
    assert raised.value.refusals[0]["errors"][0]["pointer"] == "/data/title"
    assert raised.value.refusals[4]["row"]["key"] == f"{place}:N007"
    assert stored(sql) == before
    mended = await whole.write(ADA, [rows[0]])
    assert mended[0]["status"] == "applied", "what was refused together was never answered"


async def test_a_list_with_something_that_was_sent_before_is_refused(
    whole: Whole, push: Push, sql: psycopg.Connection, place: str
):
    first, second = put("nodes", f"{place}:N001"), put("nodes", f"{place}:N002")
    await pushed(push, first)
    before = stored(sql)
    with pytest.raises(NotWhole) as raised:
        await whole.write(ADA, [second, first])
    assert refusals(raised) == [(1, "invalid")]
    with pytest.raises(NotWhole) as raised:
        await whole.write(ADA, [second, {**put("nodes", f"{place}:N003"), "mutation_id": second["mutation_id"]}])
    assert refusals(raised) == [(1, "invalid")]
    assert stored(sql) == before


async def test_what_only_the_database_refuses_is_invalid_and_leaves_nothing(
    whole: Whole, sql: psycopg.Connection, place: str
):
    sql.execute("ALTER TABLE nodes ADD CONSTRAINT taboo CHECK (title <> 'N002')")
    before = stored(sql)
    with pytest.raises(Invalid):
        await whole.write(ADA, graph(place, 2))
    assert stored(sql) == before
    sql.execute("ALTER TABLE nodes DROP CONSTRAINT taboo")


async def test_a_list_past_the_quota_is_refused_whole(server: Database, catalog: Catalog, place: str):
    quota = Quota(7)
    whole = Whole(server, catalog, lambda: NOW, quota=quota)
    with pytest.raises(NotWhole) as raised:
        await whole.write(ADA, graph(place, 3))
    assert {code for _, code in refusals(raised)} == {"quota"}
    assert len(await whole.write(ADA, graph(place, 2))) == 6, "what was undone takes no room"


async def test_a_list_counts_as_many_mutations_and_a_stream_as_one(server: Database, catalog: Catalog, place: str):
    asked: list[tuple[str, int]] = []

    def allow(owner: str, number: int) -> None:
        asked.append((owner, number))
        if number > 10:
            raise RateLimited("Too many.", 1)

    whole = Whole(server, catalog, lambda: NOW, allow=allow)
    with pytest.raises(RateLimited):
        await whole.write(ADA, graph(place, 4))
    await whole.stream(ADA, given(graph(place, 4)))
    assert asked == [("user:ada", 12), ("user:ada", 1)]


async def test_whoever_keeps_pages_hears_of_it_before_the_answer(server: Database, catalog: Catalog, place: str):
    heard: list[str] = []
    whole = Whole(server, catalog, lambda: NOW, changed=heard.append)
    await whole.write(ADA, graph(place, 1))
    assert heard == ["user:ada"]


async def test_what_is_planned_sees_the_rows_as_they_are_and_is_planned_once(
    whole: Whole, sql: psycopg.Connection, place: str
):
    await whole.write(ADA, graph(place, 1))
    planned: list[Raw] = []

    async def plan(connection: AsyncConnection) -> list[Raw]:
        found = await connection.execute(sa.text("SELECT count(*) FROM nodes"))
        planned.append(put("nodes", f"{place}:N00{found.scalar_one() + 1}"))
        return planned

    async def refuse(_: AsyncConnection) -> list[Raw]:
        raise NotFound("There is none.")

    with pytest.raises(NotFound):
        await whole.planned(ADA, str(uuid4()), refuse)
    acks = await whole.planned(ADA, str(uuid4()), plan)
    assert acks[0]["status"] == "applied"
    assert await whole.planned(ADA, planned[0]["mutation_id"], plan) == [{**acks[0], "status": "duplicate"}]
    assert sql.execute("SELECT node_id FROM nodes ORDER BY 1").fetchall() == [("N001",), ("N002",)]
    assert len(planned) == 1


# -- a stream ----------------------------------------------------------------


async def test_a_stream_is_one_transaction_and_says_how_far_it_is(whole: Whole, sql: psycopg.Connection, place: str):
    rows, told = graph(place, 100), list[int]()
    number = await whole.stream(ADA, given(rows[:100], rows[100:200], rows[200:]), progress=told.append)
    assert (number, told) == (300, [100, 200, 300])
    assert sql.execute("SELECT count(DISTINCT xmin::text) FROM changes WHERE resource <> 'sessions'").fetchone() == (1,)
    assert sql.execute("SELECT count(*) FROM mutations").fetchone() == (0,)


async def test_a_stream_that_keeps_its_answers_changes_nothing_when_it_comes_again(
    whole: Whole, sql: psycopg.Connection, place: str
):
    rows = graph(place, 10)
    assert await whole.stream(ADA, given(rows[:15], rows[15:]), ledger=True) == 30
    before = stored(sql)
    assert await whole.stream(ADA, given(rows[:7], rows[7:]), ledger=True) == 30
    assert stored(sql) == before
    with pytest.raises(NotWhole) as raised:
        await whole.stream(ADA, given(rows[:2], [put("nodes", f"{place}:N099")]), ledger=True)
    assert refusals(raised) == [(0, "invalid"), (1, "invalid")]


async def test_refusals_of_all_chunks_are_told_up_to_what_is_enough(
    whole: Whole, sql: psycopg.Connection, place: str, monkeypatch
):
    before, told = stored(sql), list[int]()
    bad = [put("node_components", f"{place}:c{n}", node_id="N009", type="text") for n in range(4)]
    good = graph(place, 1)
    with pytest.raises(NotWhole) as raised:
        await whole.stream(ADA, given(good, bad[:2], bad[2:]), progress=told.append)
    assert [place for place, _ in refusals(raised)] == [3, 4, 5, 6]
    assert told == [3, 5, 7]
    monkeypatch.setattr(whole_module, "REFUSALS", 2)
    with pytest.raises(NotWhole) as raised:
        await whole.stream(ADA, given(good, bad[:2], bad[2:]))
    assert [place for place, _ in refusals(raised)] == [3, 4]
    assert stored(sql) == before


async def test_a_dry_stream_finds_out_and_keeps_nothing(whole: Whole, sql: psycopg.Connection, place: str):
    before = stored(sql)
    assert await whole.stream(ADA, given(graph(place, 3)), dry=True) == 9
    assert stored(sql) == before
    assert await whole.stream(ADA, given(graph(place, 3))) == 9


async def test_what_seals_a_stream_is_in_its_transaction_and_only_where_nothing_was_refused(
    whole: Whole, sql: psycopg.Connection, place: str
):
    sealed: list[int] = []

    async def seal(connection: AsyncConnection) -> None:
        found = await connection.execute(sa.text("SELECT count(*) FROM nodes"))
        sealed.append(found.scalar_one())
        if len(sealed) == 1:
            raise Unavailable("Not now.")

    with pytest.raises(NotWhole):
        await whole.stream(ADA, given(graph(place, 3)[3:]), sealed=seal)
    before = stored(sql)
    with pytest.raises(Unavailable):
        await whole.stream(ADA, given(graph(place, 3)), sealed=seal)
    assert stored(sql) == before
    assert await whole.stream(ADA, given(graph(place, 3)), sealed=seal) == 9
    assert sealed == [3, 3]


async def test_a_list_may_be_checked_inside_its_transaction(whole: Whole, sql: psycopg.Connection, place: str):
    before = stored(sql)

    async def refuse(_: AsyncConnection) -> None:
        raise NotFound("There is none.")

    with pytest.raises(NotFound):
        await whole.write(ADA, graph(place, 1), check=refuse)
    assert stored(sql) == before


async def test_a_stream_that_is_cancelled_or_fails_leaves_nothing_and_no_lock(
    whole: Whole, sql: psycopg.Connection, place: str
):
    before = stored(sql)
    rows, waits = graph(place, 2), asyncio.Event()

    async def endless() -> AsyncIterator[Sequence[Raw]]:
        yield rows
        waits.set()
        await asyncio.Event().wait()

    async def failing() -> AsyncIterator[Sequence[Raw]]:
        yield rows
        raise ValueError("the source is broken")

    task = asyncio.create_task(whole.stream(ADA, endless))
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ValueError, match="source"):
        await whole.stream(ADA, failing)
    assert stored(sql) == before
    assert await whole.stream(ADA, given(rows)) == 6


# -- others ------------------------------------------------------------------


@contextmanager
def held(urls: Urls, owner: str):
    """Another process that writes this owner's rows."""
    with psycopg.connect(urls.owner) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [owner])
        yield other


async def test_it_waits_for_another_writer_of_the_owner_and_nobody_else_does(
    whole: Whole, database: Urls, sql: psycopg.Connection, place: str
):
    sql.execute("INSERT INTO sessions (owner, id) VALUES ('user:ben', gen_random_uuid())")
    [(bens,)] = sql.execute("SELECT id::text FROM sessions WHERE owner = 'user:ben'").fetchall()
    with held(database, "user:ada") as other:
        waiting = [asyncio.create_task(whole.write(ADA, [put("nodes", f"{place}:N00{n}")])) for n in range(1, 7)]
        await asyncio.to_thread(until_locked_out, sql, "%pg_advisory_xact_lock%")
        assert len(await whole.write(BEN, graph(bens, 1))) == 3
        assert not any(task.done() for task in waiting)
        other.rollback()
        assert [results(acks) for acks in await asyncio.gather(*waiting)] == [["applied"]] * 6


async def test_an_owner_who_is_busy_for_too_long_is_to_try_again(server: Database, catalog: Catalog, database, place):
    whole = Whole(server, catalog, lambda: NOW, busy_s=0.05)
    with held(database, "user:ada"), pytest.raises(Unavailable):
        await whole.write(ADA, graph(place, 1))
    assert len(await whole.write(ADA, graph(place, 1))) == 3


async def test_a_transaction_that_met_another_is_replayed_from_the_first_chunk(
    whole: Whole, sql: psycopg.Connection, place: str
):
    sql.execute("""
        CREATE SEQUENCE tries;
        GRANT USAGE ON tries TO PUBLIC;
        CREATE FUNCTION clash() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF new.id LIKE '%:N004' AND nextval('tries') <= 2 THEN RAISE serialization_failure; END IF;
          RETURN new;
        END $$;
        CREATE TRIGGER clash BEFORE INSERT ON nodes FOR EACH ROW EXECUTE FUNCTION clash();
    """)
    rows, told = graph(place, 5), list[int]()
    assert await whole.stream(ADA, given(rows[:3], rows[3:]), progress=told.append) == 15
    assert told == [3, 3, 3, 15]
    assert sql.execute("SELECT count(*) FROM nodes").fetchone() == (5,)


async def test_what_a_push_and_a_list_write_at_once_is_all_there(
    whole: Whole, push: Push, sql: psycopg.Connection, place: str
):
    await whole.write(ADA, graph(place, 5))
    lists = [[{**raw, "mutation_id": str(uuid4())} for raw in graph(place, 5)] for _ in range(6)]
    pushes = [pushed(push, put("nodes", f"{place}:N00{n}", title="pushed"), by=TABLET) for n in range(1, 6)]
    async with asyncio.TaskGroup() as group:
        for rows in lists:
            group.create_task(whole.write(ADA, [{**raw, "policy": "client-wins"} for raw in rows]))
        for one in pushes:
            group.create_task(one)
    heads = sql.execute('SELECT head, (SELECT max("offset") FROM changes) FROM channels').fetchone()
    assert heads is not None
    assert heads[0] == heads[1]


async def test_a_node_may_be_removed_and_made_anew_with_what_it_had(whole: Whole, sql: psycopg.Connection, place: str):
    await whole.write(ADA, graph(place, 2))
    anew = [
        {**raw, "policy": "client-wins", "updated_at": (NOW - timedelta(seconds=1)).isoformat()}
        for raw in graph(place, 2)
    ]
    acks = await whole.write(ADA, [removal("nodes", f"{place}:N001"), removal("nodes", f"{place}:N002"), *anew])
    assert [ack["status"] for ack in acks] == ["applied"] * 8
    assert sql.execute("SELECT count(*) FROM nodes").fetchone() == (2,)
    assert sql.execute("SELECT count(*) FROM node_components").fetchone() == (2,)
    assert sql.execute("SELECT count(*) FROM session_relationships").fetchone() == (2,)
