"""Polls without news, on real servers: they cost no statement, and news is never kept from anybody."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from syncserver.core.cursor import Cursor
from tests.anonymous import Visitor
from tests.api.ears import CUT, muffled, until
from tests.api.problems import problem
from tests.harness import UNLIMITED, Live, Serving, asked_of

BOOK = "/progress/moby"


async def polled(http: httpx.AsyncClient, cursor: str, **query: Any) -> httpx.Response:
    return await http.get("/changes", params={"cursor": cursor, **query})


async def settled(live: Live, http: httpx.AsyncClient) -> str:
    """The cursor at the end of the log, where the server knows that it is: a poll costs nothing."""
    await until(lambda: live.parts.listener.connected)
    async with asyncio.timeout(20):
        while True:
            cursor = (await http.get("/changes")).headers["sync-cursor"]
            with asked_of(live.parts.database) as asked:
                answer = await polled(http, cursor)
            if not asked and answer.status_code == 204:
                return cursor


@pytest.fixture
async def cursor(live: Live, http: httpx.AsyncClient) -> str:
    await http.put(BOOK, json={"percentage": 0.25})
    return await settled(live, http)


async def test_a_poll_without_news_costs_no_statement_and_is_answered_as_one_that_was_read(
    live: Live, http: httpx.AsyncClient, cursor: str
):
    etag = {"If-None-Match": f'"{cursor}"'}
    queries: list[dict[str, Any]] = [{}, {"wait": 0, "limit": 7}, {"resources": "progress,sessions"}]
    asks = [(query, headers) for query in queries for headers in ({}, etag, {"If-None-Match": '"other"'})]

    async def answers() -> list[tuple[int, bytes, list[tuple[str, str]]]]:
        found = [await http.get("/changes", params={"cursor": cursor, **q}, headers=h) for q, h in asks]
        return [(a.status_code, a.content, sorted(p for p in a.headers.items() if p[0] != "date")) for a in found]

    with asked_of(live.parts.database) as asked:
        known = await answers()
    assert asked == []
    assert [status for status, _, _ in known] == [204, 304, 204] * 3
    live.parts.pull.quiet = lambda _owner, _cursor: None  # type: ignore[assignment,method-assign] # the route answers all
    with asked_of(live.parts.database) as asked:
        assert await answers() == known
    assert len(asked) >= len(asks)


async def test_the_database_may_be_busy_meanwhile(http: httpx.AsyncClient, cursor: str, sql: psycopg.Connection):
    with sql.transaction():
        sql.execute("LOCK TABLE channels, changes IN ACCESS EXCLUSIVE MODE")
        assert (await polled(http, cursor)).status_code == 204


async def test_who_wrote_sees_it_in_the_next_poll_though_no_doorbell_has_come(
    live: Live, http: httpx.AsyncClient, cursor: str
):
    muffled(live)
    for percentage in (0.5, 0.6, 0.7):
        await http.patch(BOOK, json={"percentage": percentage})
        answer = await polled(http, cursor)
        assert answer.status_code == 200, "the write was acknowledged, and is not there"
        assert answer.json()["rows"][-1]["data"]["percentage"] == percentage
        cursor = answer.json()["cursor"]
        assert (await polled(http, cursor)).status_code == 204
    mutation = {"mutation_id": str(uuid4()), "resource": "progress", "key": "moby", "op": "remove"}
    body = {"device": {"id": "phone"}, "client_id": "phone", "mutations": [mutation]}
    assert (await http.post("/push", json=body)).json()["acks"][0]["status"] == "applied"
    assert (await polled(http, cursor)).json()["rows"][-1]["op"] == "remove"


async def test_what_is_typed_into_psql_is_seen_from_its_doorbell_on(
    live: Live, http: httpx.AsyncClient, cursor: str, sql: psycopg.Connection
):
    await asyncio.to_thread(sql.execute, "UPDATE reading_progress SET percentage = 0.75")
    await until(lambda: len(live.parts.heads) == 0)
    assert (await polled(http, cursor)).json()["rows"][0]["data"]["percentage"] == 0.75


async def test_while_the_listener_is_cut_off_every_poll_goes_to_the_database(
    live: Live, http: httpx.AsyncClient, cursor: str, sql: psycopg.Connection
):
    live.parts.listener._url = "postgresql://nobody@127.0.0.1:1/none"
    sql.execute(CUT)
    await until(lambda: not live.parts.listener.connected)
    for percentage in (0.5, 0.75):
        sql.execute("UPDATE reading_progress SET percentage = %s", [percentage])
        answer = await polled(http, cursor)
        assert answer.json()["rows"][0]["data"]["percentage"] == percentage
        cursor = answer.json()["cursor"]


async def test_a_poll_after_a_doorbell_that_was_missed_is_not_told_what_was_known_before(
    live: Live, http: httpx.AsyncClient, cursor: str, sql: psycopg.Connection
):
    again = asyncio.Event()
    listening, live.parts.listener._listening = live.parts.listener._listening, again.set
    muffled(live)
    sql.execute(CUT)
    await until(again.is_set)
    sql.execute("UPDATE reading_progress SET percentage = 0.5")
    assert (await polled(http, cursor)).status_code == 204, "nobody told it: as it would be without what follows"
    listening()
    await http.get(BOOK)  # so that the key is known again
    assert (await polled(http, cursor)).status_code == 200


async def test_a_sweep_that_finds_another_epoch_voids_what_is_known(
    live: Live, http: httpx.AsyncClient, cursor: str, sql: psycopg.Connection
):
    sql.execute("UPDATE epoch SET system_identifier = 'another'")
    await live.parts.sweeper.sweep()
    assert problem(await polled(http, cursor), 410, "refetch")["reason"] == "epoch"


async def test_the_head_of_somebody_else_is_no_answer(eve: httpx.AsyncClient, cursor: str):
    assert problem(await polled(eve, cursor), 410, "refetch")["reason"] == "owner"


async def test_a_token_that_was_taken_back_is_turned_away_though_the_head_is_known_by_another(
    live: Live, http: httpx.AsyncClient, cursor: str
):
    assert (await http.delete("/token")).status_code == 204
    async with httpx.AsyncClient(base_url=http.base_url, headers=live.headers()) as other:
        assert await settled(live, other) == cursor
        for _ in range(2):
            problem(await polled(http, cursor), 401, "unauthorised")
        assert (await polled(other, cursor)).status_code == 204


async def test_a_session_that_has_ended_is_turned_away_at_once(
    live: Live, anybody: httpx.AsyncClient, visitor: Visitor
):
    anybody.headers.update(visitor.key)
    cursor = await settled(live, anybody)
    assert (await anybody.delete(visitor.path)).status_code == 204
    problem(await polled(anybody, cursor), 401, "unauthorised")


async def test_what_is_wrong_with_a_poll_is_told_whatever_is_known(
    http: httpx.AsyncClient, anybody: httpx.AsyncClient, cursor: str
):
    for wrong in ({"resources": "nothing"}, {"limit": 0}, {"limit": 1001}, {"wait": -1}, {"resources": ""}):
        problem(await polled(http, cursor, **wrong), 422, "invalid")
    problem(await http.get("/changes", params={"cursor": cursor}, headers={"If-None-Match": "x" * 257}), 422, "invalid")
    problem(await polled(http, cursor, token="x"), 400, "malformed")
    problem(await polled(anybody, cursor), 401, "unauthorised")
    for odd in ("Bearer", "Basic x", "Bearer x"):
        problem(
            await http.get("/changes", params={"cursor": cursor}, headers={"Authorization": odd}), 401, "unauthorised"
        )
    at = Cursor.parse(cursor)
    ahead = str(Cursor.at(at.epoch, "user:ada", at.offset + 1))
    assert problem(await polled(http, ahead), 410, "refetch")["reason"] == "ahead"


async def test_polls_without_news_count_as_requests(serving: Serving):
    async with (
        serving(**{**UNLIMITED, "requests_per_s": 5}) as live,
        httpx.AsyncClient(base_url=f"{live.url}/api/v1", headers=live.headers()) as http,
    ):
        await until(lambda: live.parts.listener.connected)
        cursor = (await http.get("/changes")).headers["sync-cursor"]
        async with asyncio.timeout(20):
            while (answer := await polled(http, cursor)).status_code == 204:
                pass
        problem(answer, 429, "rate_limited")
        assert "retry-after" in answer.headers
