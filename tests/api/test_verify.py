from typing import Any

import httpx
import psycopg
import pytest

from syncserver.core import bodies, clock, digest
from tests.api.problems import pointers, problem
from tests.harness import Live, Urls


async def caught_up(http: httpx.AsyncClient) -> dict[str, Any]:
    """What a client that holds everything asks."""
    answer = bodies.ChangesAnswer.model_validate_json((await http.get("/changes")).content)
    rows = [digest.row(r.resource, r.key, r.offset, r.updated_at) for r in answer.rows if r.op == "put"]
    return {"cursor": answer.cursor, "digests": {"progress": digest.of(rows).model_dump()}}


@pytest.fixture
async def question(http: httpx.AsyncClient) -> dict[str, Any]:
    """Asked by one who holds a and c; b was removed."""
    for key in ("a", "b", "c"):
        await http.put(f"/progress/{key}", json={"percentage": 0.5})
    await http.delete("/progress/b")
    return await caught_up(http)


async def test_who_holds_everything_is_told_so(live: Live, http: httpx.AsyncClient, question):
    answer = await http.post("/verify", json=question)
    assert (answer.status_code, answer.json()) == (200, {"cursor": question["cursor"], "outcome": "same"})
    assert "no-store" in answer.headers["cache-control"]
    assert live.parts.house.verification.counts.verified == 1


async def test_a_digest_of_the_wire_s_own_stamps_agrees(http: httpx.AsyncClient):
    """What comes as text is hashed as text: stamps of any year are as long as others."""
    for n, stamp in enumerate(("0007-01-02T00:00:00Z", "1999-12-31T23:59:59.9Z", "2026-03-01T09:15:00+01:00")):
        await http.put(f"/progress/book {n} ✓", json={"updated_at": stamp})
    rows = (await http.get("/changes")).json()["rows"]
    assert {len(row["updated_at"]) for row in rows} == {27}
    assert [clock.write(clock.read(row["updated_at"])) for row in rows] == [row["updated_at"] for row in rows]
    assert (await http.post("/verify", json=await caught_up(http))).json()["outcome"] == "same"


async def test_who_is_behind_is_told_that_it_moved(http: httpx.AsyncClient, question):
    await http.put("/progress/d", json={})
    answer = await http.post("/verify", json=question)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "moved")


async def test_who_holds_something_else_has_to_fetch_again(live: Live, http: httpx.AsyncClient, question):
    question["digests"]["progress"]["rows"] += 1
    answer = problem(await http.post("/verify", json=question), 410, "refetch")
    assert answer["reason"] == "digest"
    assert live.parts.house.verification.counts.mismatched == 1


async def test_a_cursor_that_cannot_be_honoured_is_gone(http: httpx.AsyncClient, eve: httpx.AsyncClient, question):
    for asked, cursor, reason in ((http, "nonsense", "unreadable"), (eve, question["cursor"], "owner")):
        answer = problem(await asked.post("/verify", json={**question, "cursor": cursor}), 410, "refetch")
        assert answer["reason"] == reason


async def test_after_the_epoch_was_rotated_the_old_cursor_is_gone(http: httpx.AsyncClient, database: Urls, question):
    with psycopg.connect(database.owner, autocommit=True) as sql:
        sql.execute("SELECT sync_rotate_epoch_v1()")
    answer = problem(await http.post("/verify", json=question), 410, "refetch")
    assert answer["reason"] == "epoch"
    assert (await http.post("/verify", json=await caught_up(http))).json()["outcome"] == "same"


@pytest.mark.parametrize(
    ("digests", "pointer"),
    [
        ({"goose/berries": {"rows": 0, "xor": "0" * 16}}, "/body/digests/goose~1berries"),
        ({"progress": {"rows": -1, "xor": "0" * 16}}, "/body/digests/progress/rows"),
        ({"progress": {"rows": 1, "xor": "F" * 16}}, "/body/digests/progress/xor"),
        ({"progress": {"rows": "1", "xor": "0" * 16}}, "/body/digests/progress/rows"),
        ({"progress": None}, "/body/digests/progress"),
    ],
)
async def test_what_is_wrong_in_the_question_is_named_by_its_place(http: httpx.AsyncClient, question, digests, pointer):
    answer = await http.post("/verify", json={**question, "digests": digests})
    assert pointers(problem(answer, 422, "invalid")) == [pointer]


async def test_who_is_not_signed_in_learns_nothing(live: Live, question):
    async with httpx.AsyncClient(base_url=f"{live.url}/api/v1") as nobody:
        problem(await nobody.post("/verify", json=question), 401, "unauthorised")
