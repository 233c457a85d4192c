"""Rows kept in memory, on real servers: what is read again costs no statement, and every way to change it is seen."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.anonymous import Visitor, begun
from tests.api.ears import CUT, muffled, until
from tests.harness import Live, Serving, asked_of

BOOK = "/progress/moby"


def rows_read(statements: list[str]) -> int:
    return sum("FROM reading_progress" in statement for statement in statements)


async def heard(live: Live, change: Callable[[], object]) -> None:
    """Do this, and wait until a doorbell has reached the server and what it kept is gone."""
    assert len(live.parts.kept) > 0, "nothing is kept, so nothing is proven"
    await asyncio.to_thread(change)
    await until(lambda: len(live.parts.kept) == 0)


async def settled(live: Live, http: httpx.AsyncClient, path: str = BOOK) -> dict[str, Any]:
    """The row, kept: no doorbell of its own writes is on its way any more."""
    async with asyncio.timeout(20):
        while True:
            answer = await http.get(path)
            with asked_of(live.parts.database) as asked:
                again = await http.get(path)
            if not rows_read(asked) and len(live.parts.kept):
                assert (answer.json(), answer.headers["ETag"]) == (again.json(), again.headers["ETag"])
                return dict(again.json())


@pytest.fixture
async def book(live: Live, http: httpx.AsyncClient) -> dict[str, Any]:
    """Ada's book, which the server keeps."""
    await until(lambda: live.parts.listener.connected)
    await http.put(BOOK, json={"percentage": 0.25})
    return await settled(live, http)


async def test_a_row_that_is_asked_for_again_costs_no_statement(live: Live, http: httpx.AsyncClient, book):
    with asked_of(live.parts.database) as asked:
        for _ in range(10):
            assert (await http.get(BOOK)).json() == book
    assert rows_read(asked) == 0


async def test_it_is_given_where_the_database_does_not_answer(http: httpx.AsyncClient, book, sql):
    with sql.transaction():
        sql.execute("LOCK TABLE reading_progress, changes IN ACCESS EXCLUSIVE MODE")
        assert (await http.get(BOOK)).json() == book


async def test_nobody_else_is_given_it(eve: httpx.AsyncClient, book):
    assert book["percentage"] == 0.25
    assert (await eve.get(BOOK)).status_code == 404


@pytest.mark.parametrize("statement", ["UPDATE reading_progress SET percentage = 0.75", "DELETE FROM reading_progress"])
async def test_what_is_typed_into_psql_is_seen_from_its_doorbell_on(
    live: Live, http: httpx.AsyncClient, book, sql, statement: str
):
    await heard(live, lambda: sql.execute(statement.encode()))
    answer = await http.get(BOOK)
    assert answer.status_code == (404 if "DELETE" in statement else 200)
    assert answer.json().get("percentage") in {0.75, None}
    assert answer.headers.get("ETag") != f'"{book["offset"]}"'


@pytest.mark.usefixtures("book")
async def test_who_wrote_reads_what_was_written_though_no_doorbell_has_come(live: Live, http: httpx.AsyncClient):
    """The doorbells of this process are muffled: only its own write door can have said so."""
    muffled(live)
    for percentage in (0.5, 0.6, 0.7):
        written = await http.patch(BOOK, json={"percentage": percentage})
        assert written.json()["percentage"] == percentage
        shown = await http.get(BOOK)
        assert (shown.json()["percentage"], shown.headers["ETag"]) == (percentage, written.headers["ETag"])
    mutation = {"mutation_id": str(uuid4()), "resource": "progress", "key": "moby", "op": "remove"}
    body = {"device": {"id": "phone"}, "client_id": "phone", "mutations": [mutation]}
    assert (await http.post("/push", json=body)).json()["acks"][0]["status"] == "applied"
    assert (await http.get(BOOK)).status_code == 404


async def test_a_write_through_another_server_is_seen_from_its_doorbell_on(
    live: Live, serving: Serving, http: httpx.AsyncClient, book
):
    async with serving() as other, httpx.AsyncClient(base_url=f"{other.url}/api/v1", headers=other.headers()) as there:
        assert book["percentage"] == 0.25
        await there.patch(BOOK, json={"percentage": 0.5})
        await until(lambda: len(live.parts.kept) == 0)
    assert (await http.get(BOOK)).json()["percentage"] == 0.5


@pytest.mark.usefixtures("book")
async def test_while_the_listener_is_cut_off_every_read_goes_to_the_database(
    live: Live, http: httpx.AsyncClient, sql: psycopg.Connection
):
    url, live.parts.listener._url = live.parts.listener._url, "postgresql://nobody@127.0.0.1:1/none"
    sql.execute(CUT)
    await until(lambda: not live.parts.listener.connected)
    for percentage in (0.5, 0.75):
        sql.execute("UPDATE reading_progress SET percentage = %s", [percentage])
        assert (await http.get(BOOK)).json()["percentage"] == percentage
    live.parts.listener._url = url
    await until(lambda: live.parts.listener.connected)
    assert (await settled(live, http))["percentage"] == 0.75


@pytest.mark.usefixtures("book")
async def test_what_was_missed_while_it_was_cut_off_is_not_given_afterwards(
    live: Live, http: httpx.AsyncClient, sql: psycopg.Connection
):
    again = asyncio.Event()
    listening, live.parts.listener._listening = live.parts.listener._listening, again.set
    muffled(live)
    sql.execute(CUT)
    await until(again.is_set)
    sql.execute("UPDATE reading_progress SET percentage = 0.5")
    assert (await http.get(BOOK)).json()["percentage"] == 0.25, "nobody told it: as it would be without what follows"
    listening()
    assert (await http.get(BOOK)).json()["percentage"] == 0.5


async def test_what_a_claim_brings_is_there_when_it_is_answered(live: Live, http: httpx.AsyncClient, book, anybody):
    visitor = await begun(anybody)
    await anybody.put(BOOK, json={"percentage": 0.9}, headers=visitor.key)
    await settled(live, http)
    muffled(live)
    claimed = await http.post(f"{visitor.path}/claim", json={"token": visitor.token})
    assert claimed.status_code == 200
    assert (await http.get(BOOK)).json()["percentage"] == 0.9
    assert book["percentage"] == 0.25


async def test_nothing_is_kept_of_a_session_that_has_ended(
    live: Live, anybody: httpx.AsyncClient, visitor: Visitor, sql: psycopg.Connection
):
    await until(lambda: live.parts.listener.connected)
    anybody.headers.update(visitor.key)
    await anybody.put(BOOK, json={"percentage": 0.9})
    await settled(live, anybody)
    await heard(live, lambda: sql.execute("DELETE FROM sessions"))
    assert (await anybody.get(BOOK)).status_code == 401


async def test_when_a_session_was_last_accessed_is_never_kept(anybody: httpx.AsyncClient, visitor: Visitor):
    """It changes without a doorbell."""
    anybody.headers.update(visitor.key)
    seen = []
    for _ in range(3):
        seen.append((await anybody.get(visitor.path)).json()["last_accessed"])
        assert (await anybody.put(f"{visitor.path}/touch")).status_code == 204
    assert len(set(seen)) == 3


@pytest.mark.parametrize("changed", [{"kept_bytes": 0}, {"kept_s": 0.01}], ids=str)
async def test_the_operator_says_how_long_and_how_much(serving: Serving, changed: dict[str, float]):
    async with serving(**changed) as live:
        await until(lambda: live.parts.listener.connected)
        async with httpx.AsyncClient(base_url=f"{live.url}/api/v1", headers=live.headers()) as http:
            await http.put(BOOK, json={"percentage": 0.25})
            async with asyncio.timeout(20):
                with asked_of(live.parts.database) as asked:
                    while rows_read(asked) < 3:
                        await http.get(BOOK)
