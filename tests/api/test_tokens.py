"""Signing out: the very token that is shown, and nothing else."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import httpx
import jwt
import psycopg

from syncserver.app import wiring
from syncserver.core.actor import session_owner
from syncserver.engine import tokens
from tests.api.problems import problem
from tests.harness import SECRET, Live, token


def bearing(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_a_token_that_was_signed_out_does_not_hold_and_others_do(http: httpx.AsyncClient, eve: httpx.AsyncClient):
    key, other = token("ada"), token("ada")
    answer = await http.delete("/token", headers=bearing(key))
    assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (204, b"", "no-store")
    for method, path in (("GET", "/progress"), ("POST", "/tickets"), ("DELETE", "/token")):
        problem(await http.request(method, path, headers=bearing(key)), 401, "unauthorised")
    assert (await http.get("/progress", headers=bearing(other))).status_code == 200
    assert (await eve.get("/progress")).status_code == 200


async def test_a_ticket_does_not_outlive_the_token_that_got_it(http: httpx.AsyncClient):
    key = token("ada")
    ticket = (await http.post("/tickets", headers=bearing(key))).json()["ticket"]
    await http.delete("/token", headers=bearing(key))
    answer = await http.get("/changes/stream", params={"ticket": ticket}, headers={"Authorization": ""})
    problem(answer, 401, "unauthorised")


async def test_a_token_without_an_id_cannot_be_taken_back_and_it_is_said_why(http: httpx.AsyncClient):
    claims = {"sub": "ada", "exp": wiring.now() + timedelta(hours=1)}
    bare = jwt.encode(claims, SECRET, algorithm="HS256")
    assert "jti" in problem(await http.delete("/token", headers=bearing(bare)), 422, "invalid")["detail"]
    assert (await http.get("/progress", headers=bearing(bare))).status_code == 200


async def test_a_visitor_is_pointed_to_the_session(http: httpx.AsyncClient, sql: psycopg.Connection):
    session_id = uuid4()
    sql.execute(
        "INSERT INTO sessions (owner, id, updated_at) VALUES (%s, %s, now())", [session_owner(session_id), session_id]
    )
    headers = bearing(tokens.mint_session(SECRET, session_id, wiring.now()))
    assert "/sessions/" in problem(await http.delete("/token", headers=headers), 403, "forbidden")["detail"]
    assert (await http.get("/progress", headers=headers)).status_code == 200


async def test_it_is_remembered_for_as_long_as_the_token_would_have_held(
    http: httpx.AsyncClient, live: Live, sql: psycopg.Connection
):
    await http.delete("/token")
    actor = await live.parts.keys.read(http.headers["authorization"].split()[1])
    assert sql.execute("SELECT owner, token_id, before, expires_at FROM revocations").fetchall() == [
        ("user:ada", actor.token_id, None, actor.expires_at)
    ]


async def test_many_who_sign_out_at_once_all_do(http: httpx.AsyncClient):
    keys = [token("ada") for _ in range(20)]
    out = await asyncio.gather(*(http.delete("/token", headers=bearing(key)) for key in [*keys, *keys]))
    assert {answer.status_code for answer in out} <= {204, 401}
    again = await asyncio.gather(*(http.get("/progress", headers=bearing(key)) for key in keys))
    assert {answer.status_code for answer in again} == {401}
