"""Anonymous sessions over HTTP: had by anybody, opened by their token alone, gone for good once they are deleted."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from syncserver.core import bodies
from syncserver.engine import tokens
from tests.anonymous import Visitor, bearer, begun
from tests.api.problems import pointers, problem
from tests.harness import SECRET, Live, Serving, token


def head(sql: psycopg.Connection, owner: str) -> tuple[Any, ...] | None:
    return sql.execute("SELECT head FROM channels WHERE owner = %s", [owner]).fetchone()


def accessed(sql: psycopg.Connection, visitor: Visitor) -> datetime:
    [row] = sql.execute("SELECT last_accessed FROM sessions WHERE id = %s", [visitor.id]).fetchall()
    assert isinstance(row[0], datetime)
    return row[0]


# -- beginning ---------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"{}", b'{"name": "Ada", "session_id": "mine"}'])
async def test_anybody_may_have_a_session(anybody: httpx.AsyncClient, sql: psycopg.Connection, body: bytes):
    answer = await anybody.post("/sessions", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "private, no-store")
    made = bodies.SessionAnswer.model_validate_json(answer.content)
    assert UUID(made.session_id).version == 4
    assert answer.headers["location"] == f"/api/v1/sessions/{made.session_id}"
    assert made.expires_at.year == made.created_at.year + 100
    assert abs(datetime.now(UTC) - made.created_at) < timedelta(minutes=1)
    assert sql.execute("SELECT owner, id::text, device_id FROM sessions").fetchall() == [
        (f"session:{made.session_id}", made.session_id, None)
    ]


async def test_with_a_workspace_it_has_two_nodes_from_the_very_beginning(anybody: httpx.AsyncClient):
    made = (await anybody.post("/sessions", json={"workspace": True})).json()
    key = {"Authorization": f"Bearer {made['token']}"}
    rows = (await anybody.get("/changes", headers=key)).json()["rows"]
    assert [(row["resource"], row["key"]) for row in rows] == [
        ("sessions", made["session_id"]),
        ("nodes", f"{made['session_id']}:N001"),
        ("nodes", f"{made['session_id']}:N002"),
    ]


async def test_a_session_and_its_first_nodes_are_one_transaction(anybody: httpx.AsyncClient, sql: psycopg.Connection):
    sql.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON nodes FOR EACH ROW WHEN (new.id LIKE '%N002') EXECUTE FUNCTION refuse();
    """)
    assert (await anybody.post("/sessions", json={"workspace": True})).status_code >= 500
    left = sql.execute("SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM nodes)").fetchone()
    assert left == (0, 0)
    assert (await anybody.post("/sessions", json={"workspace": False})).status_code == 201


async def test_a_wish_that_cannot_be_is_no_session(anybody: httpx.AsyncClient, sql: psycopg.Connection):
    problem(await anybody.post("/sessions", json={"workspace": "yes"}), 422, "invalid")
    assert sql.execute("SELECT FROM sessions").rowcount == 0


async def test_its_row_is_seen_by_its_own_token_alone(anybody: httpx.AsyncClient, visitor: Visitor):
    other = await begun(anybody)
    row = (await anybody.get(visitor.path, headers=visitor.key)).json()
    assert (row["id"], row["device_id"], row["offset"]) == (visitor.id, None, 1)
    listed = (await anybody.get("/sessions", headers=visitor.key)).json()
    assert listed["items"] == [row]
    problem(await anybody.get(visitor.path, headers=other.key), 404, "not_found")


@pytest.mark.parametrize(("verb", "path"), [("PUT", ""), ("PATCH", ""), ("POST", ""), ("PUT", "/validate")])
async def test_its_row_is_nobody_s_to_write(anybody: httpx.AsyncClient, visitor: Visitor, verb: str, path: str):
    answer = await anybody.request(verb, visitor.path + path, headers=visitor.key, json={})
    assert answer.status_code == 405


async def test_a_pushed_session_is_refused(anybody: httpx.AsyncClient, visitor: Visitor, sql: psycopg.Connection):
    before = sql.execute("SELECT * FROM sessions").fetchall()
    write = {"mutation_id": str(uuid4()), "resource": "sessions", "key": visitor.id, "op": "remove"}
    body = {"device": {"id": "d"}, "client_id": "c", "mutations": [write]}
    [ack] = (await anybody.post("/push", headers=visitor.key, json=body)).json()["acks"]
    assert (ack["status"], ack["code"]) == ("rejected", "forbidden")
    assert sql.execute("SELECT * FROM sessions").fetchall() == before


# -- asking ------------------------------------------------------------------


async def test_a_session_is_validated_and_that_counts_as_access(
    anybody: httpx.AsyncClient, visitor: Visitor, sql: psycopg.Connection
):
    before = accessed(sql, visitor)
    answer = await anybody.get(f"{visitor.path}/validate", headers=visitor.key)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, no-store")
    said = bodies.ValidAnswer.model_validate_json(answer.content)
    assert (said.session_id, said.valid) == (visitor.id, True)
    assert said.last_accessed == accessed(sql, visitor) > before
    assert said.created_at == before


async def test_neither_validate_nor_touch_is_a_change(
    anybody: httpx.AsyncClient, visitor: Visitor, sql: psycopg.Connection
):
    before = sql.execute("SELECT * FROM changes").fetchall()
    sql.execute("LISTEN syncserver; LISTEN syncserver_keys")
    await anybody.get(f"{visitor.path}/validate", headers=visitor.key)
    assert (await anybody.put(f"{visitor.path}/touch", headers=visitor.key)).status_code == 204
    assert head(sql, visitor.owner) == (1,)
    assert sql.execute("SELECT * FROM changes").fetchall() == before
    sql.execute("NOTIFY syncserver, 'the end'")
    assert [notify.payload for notify in sql.notifies(stop_after=1)] == ["the end"]


async def test_an_answer_is_given_again_and_touch_always_writes(
    anybody: httpx.AsyncClient, visitor: Visitor, sql: psycopg.Connection
):
    first = (await anybody.get(f"{visitor.path}/validate", headers=visitor.key)).json()
    written = accessed(sql, visitor)
    assert (await anybody.get(f"{visitor.path}/validate", headers=visitor.key)).json() == first
    assert accessed(sql, visitor) == written
    assert (await anybody.put(f"{visitor.path}/touch", headers=visitor.key)).content == b""
    touched = accessed(sql, visitor)
    assert touched > written


async def test_a_session_that_another_process_deleted_is_gone_here_at_once(
    live: Live, anybody: httpx.AsyncClient, visitor: Visitor, sql: psycopg.Connection
):
    assert (await anybody.get(f"{visitor.path}/validate", headers=visitor.key)).status_code == 200
    heard = asyncio.Event()
    rang = live.parts.listener._rings["syncserver_keys"]

    def ring(owner: str) -> None:
        rang(owner)
        heard.set()

    live.parts.listener._rings = {**live.parts.listener._rings, "syncserver_keys": ring}
    sql.execute("DELETE FROM sessions WHERE id = %s", [visitor.id])
    async with asyncio.timeout(20):
        await heard.wait()
    problem(await anybody.get(f"{visitor.path}/validate", headers=visitor.key), 404, "not_found")


# -- whose it is -------------------------------------------------------------

_ROUTES = [("GET", "/validate"), ("PUT", "/touch"), ("DELETE", ""), ("POST", "/claim")]


@pytest.mark.parametrize(("verb", "path"), _ROUTES)
async def test_an_id_is_not_a_key(
    anybody: httpx.AsyncClient, visitor: Visitor, sql: psycopg.Connection, verb: str, path: str
):
    other = await begun(anybody)
    body = {"token": visitor.token}
    before = sql.execute("SELECT * FROM sessions ORDER BY id").fetchall()

    problem(await anybody.request(verb, visitor.path + path, json=body), 401, "unauthorised")
    problem(await anybody.request(verb, f"/sessions/x{path}", json=body), 401, "unauthorised")
    forged = tokens.mint_session(b"another secret, as long as the one of this server is", UUID(visitor.id), _now())
    problem(await anybody.request(verb, visitor.path + path, json=body, headers=bearer(forged)), 401, "unauthorised")
    if verb != "POST":
        for theirs in (other.key, bearer(token("ada")), bearer(token(visitor.owner)), bearer(token(visitor.id))):
            problem(await anybody.request(verb, visitor.path + path, json=body, headers=theirs), 404, "not_found")
    assert sql.execute("SELECT * FROM sessions ORDER BY id").fetchall() == before


@pytest.mark.parametrize(("verb", "path"), _ROUTES)
async def test_an_unknown_id_is_404_and_what_is_no_uuid_422(
    anybody: httpx.AsyncClient, visitor: Visitor, verb: str, path: str
):
    asks = bearer(token("ada")) if verb == "POST" else visitor.key
    unknown = uuid4()
    body = {"token": tokens.mint_session(SECRET, unknown, _now()) if verb == "POST" else "x"}
    status, code = (422, "invalid") if verb == "POST" else (404, "not_found")  # that token is good for nothing
    problem(await anybody.request(verb, f"/sessions/{unknown}{path}", json=body, headers=asks), status, code)
    strange = (visitor.id.replace("-", ""), f"{{{visitor.id}}}", f"urn:uuid:{visitor.id}", visitor.id + "0", "1")
    for wrong in strange:
        document = problem(
            await anybody.request(verb, f"/sessions/{wrong}{path}", json=body, headers=asks), 422, "invalid"
        )
        assert pointers(document) == ["/path/key"]


async def test_a_row_of_a_resource_with_uuids_for_keys_is_asked_for_by_one(
    anybody: httpx.AsyncClient, visitor: Visitor
):
    assert (await anybody.get(f"/sessions/{visitor.id.upper()}", headers=visitor.key)).status_code == 200
    for wrong in ("1", visitor.id + "0", visitor.id.replace("-", "")):
        document = problem(await anybody.get(f"/sessions/{wrong}", headers=visitor.key), 422, "invalid")
        assert pointers(document) == ["/path/key"]


async def test_an_id_in_capitals_is_the_same_session(anybody: httpx.AsyncClient, visitor: Visitor):
    answer = await anybody.get(f"/sessions/{visitor.id.upper()}/validate", headers=visitor.key)
    assert answer.json()["session_id"] == visitor.id


async def test_a_visitor_s_token_is_no_reader_s_and_the_other_way_round(anybody: httpx.AsyncClient, visitor: Visitor):
    await anybody.put("/progress/moby-dick", json={"percentage": 0.5}, headers=visitor.key)
    for shown in (token(visitor.id), token(visitor.owner)):
        assert (await anybody.get("/progress", headers=bearer(shown))).json()["items"] == []


# -- the end -----------------------------------------------------------------


async def test_a_deleted_session_is_gone_and_says_so_to_its_own_token_alone(
    anybody: httpx.AsyncClient, visitor: Visitor, sql: psycopg.Connection
):
    other = await begun(anybody)
    for one in (visitor, other):
        await anybody.put("/progress/moby-dick", json={"percentage": 0.5}, headers=one.key)
    gone = await anybody.delete(visitor.path, headers=visitor.key)
    assert (gone.status_code, gone.content) == (204, b"")

    for verb, path in _ROUTES[:3]:
        problem(await anybody.request(verb, visitor.path + path, headers=visitor.key), 404, "not_found")
        problem(await anybody.request(verb, other.path + path, headers=visitor.key), 401, "unauthorised")
    for path in ("/progress", "/changes", "/sessions", visitor.path):
        problem(await anybody.get(path, headers=visitor.key), 401, "unauthorised")
    problem(await anybody.post("/tickets", headers=visitor.key), 401, "unauthorised")
    ada = bearer(token("ada"))
    answer = await anybody.post(f"{visitor.path}/claim", json={"token": visitor.token}, headers=ada)
    assert pointers(problem(answer, 422, "invalid")) == ["/token"]
    assert sql.execute("SELECT owner FROM reading_progress").fetchall() == [(other.owner,)]
    assert (await anybody.get(f"{other.path}/validate", headers=other.key)).status_code == 200


async def test_nothing_in_the_database_remembers_a_deleted_session(
    anybody: httpx.AsyncClient, visitor: Visitor, sql: psycopg.Connection
):
    for percentage, stamp in ((0.5, "2026-01-02T00:00:00Z"), (0.1, "2026-01-01T00:00:00Z")):  # the second one loses
        body = {"percentage": percentage, "updated_at": stamp, "device_id": "phone"}
        await anybody.put("/progress/moby-dick", json=body, headers=visitor.key)
    assert (await anybody.delete("/progress/moby-dick", headers=visitor.key)).status_code == 204
    await anybody.put("/progress/emma", json={"percentage": 0.5}, headers=visitor.key)
    await anybody.post("/tickets", headers=visitor.key)
    sql.execute(
        "INSERT INTO temporary_keys (owner, client_id, name, resource, key) VALUES (%s, 'c', 'n', 'r', 'k')",
        [visitor.owner],
    )
    sql.execute(
        "INSERT INTO revocations (owner, token_id, expires_at) VALUES (%s, 'x', now() + interval '1 day')",
        [visitor.owner],
    )
    filled = {table for table, count in _traces(sql, visitor).items() if count}
    assert filled >= {"sessions", "reading_progress", "channels", "changes", "conflicts", "mutations", "temporary_keys"}
    assert filled >= {"tickets", "revocations", "notes"}

    assert (await anybody.delete(visitor.path, headers=visitor.key)).status_code == 204

    left = _traces(sql, visitor)
    assert len(left) >= 11
    assert not any(left.values()), left


def _traces(sql: psycopg.Connection, visitor: Visitor) -> dict[str, int]:
    """How many rows of each table say the session's id anywhere."""
    tables = sql.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
    return {
        name: sql.execute(f'SELECT FROM "{name}" t WHERE t::text LIKE %s', [f"%{visitor.id}%"]).rowcount
        for (name,) in tables.fetchall()
    }


async def test_a_session_deleted_while_it_writes_leaves_nothing(
    anybody: httpx.AsyncClient, visitor: Visitor, sql: psycopg.Connection
):
    writes = [anybody.put(f"/progress/{n}", json={"percentage": 0.5}, headers=visitor.key) for n in range(40)]
    answers = await asyncio.gather(*writes[:20], anybody.delete(visitor.path, headers=visitor.key), *writes[20:])
    assert {answer.status_code for answer in answers} <= {200, 204, 401, 404, 503}
    assert not any(_traces(sql, visitor).values())


# -- the log, and limits -----------------------------------------------------


async def test_the_log_tells_of_sessions_and_never_of_which(
    anybody: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG, "syncserver")
    visitor = await begun(anybody)
    await anybody.get(f"{visitor.path}/validate", headers=visitor.key)
    await anybody.delete(visitor.path, headers=visitor.key)
    told = [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "syncserver.engine.sessions"]
    assert told == [("INFO", "an anonymous session was made"), ("INFO", "an anonymous session was deleted")]
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("syncserver"))
    for secret in (visitor.id, visitor.token, "127.0.0.1"):
        assert secret not in ours


async def test_one_address_cannot_fill_the_house(serving: Serving, sql: psycopg.Connection):
    async with serving(sessions_per_minute=2) as live, httpx.AsyncClient(base_url=f"{live.url}/api/v1") as anybody:
        await begun(anybody)
        await begun(anybody)
        refused = await anybody.post("/sessions")
        problem(refused, 429, "rate_limited")
        assert int(refused.headers["retry-after"]) >= 1
    assert sql.execute("SELECT count(*) FROM sessions").fetchone() == (2,)


def _now() -> datetime:
    return datetime.now(UTC)
