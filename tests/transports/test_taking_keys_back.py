"""A key that is taken back ends every visit that came in with it, over whichever transport, in whichever process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from syncserver.app import wiring
from syncserver.core.actor import session_owner
from syncserver.engine import tokens
from syncserver.engine.house import Guest
from syncserver.hub.subscription import Standing
from syncserver.storage import revocations
from syncserver.storage.database import Database
from tests.harness import SECRET, Live, Serving, token
from tests.transports.sockets import HELLO, Socket, greeted, raw

LISTENERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'syncserver listener' AND datname = current_database()
"""


@pytest.fixture
async def live(serving: Serving) -> AsyncIterator[Live]:
    """A server whose sweep does not find by itself that a session's log is gone: that would be another reason."""
    async with serving(sweep_s=60) as server:
        yield server


def visitor(sql: psycopg.Connection) -> tuple[UUID, str]:
    """A new session and its token."""
    session_id = uuid4()
    owner = session_owner(session_id)
    sql.execute("INSERT INTO sessions (owner, id, updated_at) VALUES (%s, %s, now())", [owner, session_id])
    return session_id, tokens.mint_session(SECRET, session_id, wiring.now())


def end(sql: psycopg.Connection, session_id: UUID, *, claimed: bool) -> None:
    how = "UPDATE sessions SET owner = 'user:ada'" if claimed else "DELETE FROM sessions"
    sql.execute(f"{how} WHERE id = %s", [session_id])


async def sign_out(live: Live, key: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=live.url) as http:
        return await http.delete("/api/v1/token", headers={"Authorization": f"Bearer {key}"})


async def told(socket: Socket, code: str) -> None:
    error = await socket.hear_until("error")
    assert error["code"] == code
    assert await socket.closed() == 4501


async def refused(live: Live, key: str, code: str = "unauthorised") -> None:
    """With this key nobody gets in any more, whichever door they take."""
    async with raw(live) as socket:
        await socket.say({**HELLO, "token": key})
        await told(socket, code)
    async with httpx.AsyncClient(base_url=live.url, headers={"Authorization": f"Bearer {key}"}) as http:
        for path in ("/api/v1/progress", "/api/v1/changes/stream"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (401, code)


async def test_signing_out_ends_every_visit_with_that_token_and_no_other(serving: Serving):
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(serving()) for _ in range(2)]
        key, other = token("ada"), token("ada")
        leaving = [await stack.enter_async_context(greeted(live, token=key)) for live in (here, there)]
        staying = [await stack.enter_async_context(greeted(live, token=other)) for live in (here, there)]
        assert (await sign_out(here, key)).status_code == 204
        for socket in leaving:
            await told(socket, "unauthorised")
        await refused(here, key)
        await refused(there, key)
        for socket in staying:
            await socket.say({"type": "ping"})
            assert (await socket.hear_until("pong"))["type"] == "pong"


async def test_a_second_is_enough(serving: Serving):
    async with serving() as here, serving() as there, greeted(there, token=(key := token("ada"))) as socket:
        await sign_out(here, key)
        async with asyncio.timeout(1):
            await told(socket, "unauthorised")


async def test_all_tokens_until_now_can_be_taken_back_and_a_later_one_holds(live: Live, server: Database):
    async with greeted(live) as ada, greeted(live, "eve") as eve:
        async with server.transaction(["user:ada"]) as connection:
            await revocations.revoke_all(connection, "user:ada")
        await told(ada, "unauthorised")
        later = tokens.mint(SECRET, "ada", wiring.now() + timedelta(seconds=2), timedelta(hours=1))
        async with greeted(live, token=later):
            pass
        await eve.say({"type": "ping"})
        assert (await eve.hear())["type"] == "pong"


async def test_a_fresh_token_shown_meanwhile_is_the_one_that_counts(live: Live):
    first, second = token("ada"), token("ada")
    async with greeted(live, token=first) as socket:
        await socket.say({"type": "auth", "token": second})
        await socket.say({"type": "ping"})
        await socket.hear_until("pong")
        await sign_out(live, first)
        await refused(live, first)
        await socket.say({"type": "ping"})
        assert (await socket.hear())["type"] == "pong"
        await sign_out(live, second)
        await told(socket, "unauthorised")


@pytest.mark.parametrize(("claimed", "code"), [(False, "unauthorised"), (True, "claimed")])
async def test_the_sockets_of_a_session_that_ends_are_closed(
    live: Live, sql: psycopg.Connection, claimed: bool, code: str
):
    session_id, key = visitor(sql)
    async with greeted(live, token=key) as socket:
        end(sql, session_id, claimed=claimed)
        first = await socket.hear()
        if claimed:
            assert first == {"type": "refetch", "reason": "claimed"}
            first = await socket.hear()
        assert (first["type"], first["code"]) == ("error", code)
        assert await socket.closed() == 4501
    await refused(live, key, code)


@pytest.mark.parametrize(("claimed", "last"), [(False, b'"code":4501'), (True, b'"reason":"claimed"')])
async def test_the_streams_of_a_session_that_ends_say_so_and_end(
    live: Live, sql: psycopg.Connection, claimed: bool, last: bytes
):
    session_id, key = visitor(sql)
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        httpx.AsyncClient(base_url=live.url, headers=headers, timeout=20) as http,
        http.stream("GET", "/api/v1/changes/stream") as answer,
    ):
        chunks = answer.aiter_bytes()
        seen = b""
        while b"event: ready" not in seen:
            seen += await anext(chunks)
        end(sql, session_id, claimed=claimed)
        said = b"".join([chunk async for chunk in chunks])
        assert last in said


@pytest.mark.parametrize(("claimed", "code"), [(False, "unauthorised"), (True, "claimed")])
async def test_a_long_poll_of_a_session_that_ends_is_answered_at_once(
    live: Live, sql: psycopg.Connection, claimed: bool, code: str
):
    session_id, key = visitor(sql)
    async with httpx.AsyncClient(base_url=live.url, headers={"Authorization": f"Bearer {key}"}, timeout=20) as http:
        cursor = (await http.get("/api/v1/changes")).json()["cursor"]
        waiting = asyncio.create_task(http.get("/api/v1/changes", params={"cursor": cursor, "wait": 60}))
        while not any(one.standing is Standing.LIVE for one in live.parts.hub):  # noqa: ASYNC110 - turns of the loop, until it waits
            await asyncio.sleep(0)
        end(sql, session_id, claimed=claimed)
        answer = await waiting
    assert (answer.status_code, answer.json()["code"]) == (401, code)


async def test_what_was_taken_back_while_no_doorbell_was_heard_is_found_when_it_is(
    serving: Serving, sql: psycopg.Connection
):
    async with serving() as live, greeted(live, token=(key := token("ada"))) as socket:
        actor: Any = (await live.parts.keys.by_token(key)).token_id
        sql.execute("SET session_replication_role = replica")  # no trigger rings
        sql.execute(
            "INSERT INTO revocations (owner, token_id, expires_at) VALUES ('user:ada', %s, 'infinity')", [actor]
        )
        await socket.say({"type": "ping"})
        assert (await socket.hear())["type"] == "pong"
        assert sql.execute(LISTENERS).rowcount == 1
        await told(socket, "unauthorised")
        await refused(live, key)


async def test_one_whose_key_was_taken_back_on_the_way_in_does_not_stay(live: Live, server: Database):
    """Between the look at the key and the guest's entry, the doorbell rang, and found nobody."""
    actor = await live.parts.keys.by_token(token("ada"))
    async with server.transaction(["user:ada"]) as connection:
        await revocations.revoke(connection, "user:ada", actor.token_id or "")
    while live.parts.keys._standings.known("user:ada") is not None:  # noqa: ASYNC110 - turns of the loop, until it rang
        await asyncio.sleep(0)
    left = asyncio.Event()
    guest = Guest("user:ada", lambda *_: left.set(), lambda _frame: True, actor=actor)
    live.parts.house.entered(guest)
    async with asyncio.timeout(20):
        await left.wait()
    assert guest.actor is None


async def test_while_the_database_is_away_known_readers_come_in_and_others_are_asked_to_wait(
    live: Live, sql: psycopg.Connection
):
    while not live.parts.listener.connected:  # noqa: ASYNC110 - turns of the loop; what was known before is dropped
        await asyncio.sleep(0)
    async with greeted(live):
        pass
    [name] = sql.execute("SELECT current_database()").fetchone() or [""]
    sql.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert (await live.parts.keys.by_token(token("ada"))).owner == "user:ada"
    async with raw(live) as socket:
        await socket.say({**HELLO, "token": token("eve")})
        assert (await socket.hear())["code"] == "unavailable"
        assert await socket.closed() == 1013
