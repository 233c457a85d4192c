"""A claim over HTTP: asked for by a reader, vouched for by the visitor's own token."""

from datetime import datetime

import httpx
import psycopg

from tests.anonymous import Visitor, bearer, begun
from tests.api.problems import pointers, problem
from tests.harness import token

_ROUTES = [("GET", "/validate"), ("PUT", "/touch"), ("DELETE", "")]


async def test_a_claim_moves_the_rows_and_a_second_one_nothing(anybody: httpx.AsyncClient, visitor: Visitor):
    ada = bearer(token("ada"))
    await anybody.put("/progress/moby-dick", json={"percentage": 0.5}, headers=visitor.key)
    await anybody.put("/progress/emma", json={"percentage": 0.2}, headers=visitor.key)
    await anybody.put("/progress/emma", json={"percentage": 0.9, "updated_at": "2026-01-01T00:00:00Z"}, headers=ada)

    answer = await anybody.post(f"{visitor.path}/claim", json={"token": visitor.token}, headers=ada)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, no-store")
    assert answer.json() == {"session_id": visitor.id, "rows": 3, "conflicts": 1, "cursor": None}
    again = await anybody.post(f"{visitor.path}/claim", json={"token": visitor.token}, headers=ada)
    assert again.json() == {"session_id": visitor.id, "rows": 0, "conflicts": 0, "cursor": None}

    rows = (await anybody.get("/progress", headers=ada)).json()["items"]
    assert {row["publication_id"]: row["percentage"] for row in rows} == {"moby-dick": 0.5, "emma": 0.2}
    eve = bearer(token("eve"))
    answer = await anybody.post(f"{visitor.path}/claim", json={"token": visitor.token}, headers=eve)
    problem(answer, 404, "not_found")


async def test_after_a_claim_the_visitor_s_token_ends_and_says_why(anybody: httpx.AsyncClient, visitor: Visitor):
    ada = bearer(token("ada"))
    assert (await anybody.get(f"{visitor.path}/validate", headers=visitor.key)).status_code == 200
    await anybody.post(f"{visitor.path}/claim", json={"token": visitor.token}, headers=ada)
    for verb, path in _ROUTES:
        problem(await anybody.request(verb, visitor.path + path, headers=visitor.key), 401, "claimed")
    problem(await anybody.get("/progress", headers=visitor.key), 401, "claimed")


async def test_a_claimed_session_is_its_reader_s_and_only_its_row_can_be_deleted(
    anybody: httpx.AsyncClient, visitor: Visitor, sql: psycopg.Connection
):
    ada, eve = bearer(token("ada")), bearer(token("eve"))
    await anybody.put("/progress/moby-dick", json={"percentage": 0.5}, headers=visitor.key)
    await anybody.post(f"{visitor.path}/claim", json={"token": visitor.token}, headers=ada)
    for verb, path in _ROUTES:
        problem(await anybody.request(verb, visitor.path + path, headers=eve), 404, "not_found")
    before = _accessed(sql, visitor)
    assert (await anybody.get(f"{visitor.path}/validate", headers=ada)).json()["session_id"] == visitor.id
    assert (await anybody.put(f"{visitor.path}/touch", headers=ada)).status_code == 204
    assert _accessed(sql, visitor) > before

    assert (await anybody.delete(visitor.path, headers=ada)).status_code == 204
    for verb, path in _ROUTES:
        problem(await anybody.request(verb, visitor.path + path, headers=ada), 404, "not_found")
    assert (await anybody.get("/progress/moby-dick", headers=ada)).status_code == 200
    tombstone = sql.execute("SELECT op FROM changes WHERE owner = 'user:ada' AND resource = 'sessions'").fetchall()
    assert tombstone == [("remove",)]
    problem(await anybody.get("/progress", headers=visitor.key), 401, "unauthorised")


async def test_a_visitor_cannot_claim(anybody: httpx.AsyncClient, visitor: Visitor):
    other = await begun(anybody)
    for by in (other, visitor):
        answer = await anybody.post(f"{visitor.path}/claim", json={"token": visitor.token}, headers=by.key)
        problem(answer, 403, "forbidden")
    assert (await anybody.get(f"{visitor.path}/validate", headers=visitor.key)).status_code == 200


async def test_a_claim_needs_the_visitor_s_own_token(anybody: httpx.AsyncClient, visitor: Visitor):
    other, ada = await begun(anybody), bearer(token("ada"))
    for wrong in ("", "x", other.token, token("ada"), token(visitor.id)):
        answer = await anybody.post(f"{visitor.path}/claim", json={"token": wrong}, headers=ada)
        assert pointers(problem(answer, 422, "invalid")) == ["/token"]
        assert not wrong or wrong == "x" or wrong not in answer.text
    problem(await anybody.post(f"{visitor.path}/claim", json={}, headers=ada), 422, "invalid")
    problem(await anybody.post(f"{visitor.path}/claim", headers=ada), 422, "invalid")
    assert (await anybody.get(f"{visitor.path}/validate", headers=visitor.key)).status_code == 200


def _accessed(sql: psycopg.Connection, visitor: Visitor) -> datetime:
    [row] = sql.execute("SELECT last_accessed FROM sessions WHERE id = %s", [visitor.id]).fetchall()
    assert isinstance(row[0], datetime)
    return row[0]
