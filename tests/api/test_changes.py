from typing import Any

import httpx
import psycopg
import pytest

from syncserver.core import bodies
from syncserver.core.cursor import Cursor
from tests.api.problems import pointers, problem
from tests.harness import Urls


async def polled(http: httpx.AsyncClient, status: int = 200, **query: Any) -> httpx.Response:
    answer = await http.get("/changes", params=query)
    assert answer.status_code == status, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["etag"] == f'"{answer.headers["sync-cursor"]}"'
    return answer


async def test_from_nothing_everything_comes_then_only_what_is_new(http: httpx.AsyncClient):
    for key in ("a", "b"):
        await http.put(f"/progress/{key}", json={"percentage": 0.5})
    first = await polled(http)
    answer = bodies.ChangesAnswer.model_validate_json(first.content)
    assert [(r.key, r.offset, r.op) for r in answer.rows] == [("a", 1, "put"), ("b", 2, "put")]
    assert (answer.more, answer.cursor) == (False, first.headers["sync-cursor"])
    row = (await http.get("/progress/a")).json()
    assert answer.rows[0].data == {name: value for name, value in row.items() if name != "offset"}

    nothing = await polled(http, 204, cursor=answer.cursor)
    assert (nothing.content, nothing.headers["sync-cursor"]) == (b"", answer.cursor)

    await http.put("/progress/a", json={"percentage": 0.6})
    await http.delete("/progress/b")
    news = bodies.ChangesAnswer.model_validate_json((await polled(http, cursor=answer.cursor)).content)
    assert [(r.key, r.op, r.data and r.data["percentage"]) for r in news.rows] == [
        ("a", "put", 0.6),
        ("b", "remove", None),
    ]
    assert news.rows[0].offset > answer.rows[1].offset


async def test_before_the_first_write_there_is_no_news_and_a_cursor(http: httpx.AsyncClient):
    nothing = await polled(http, 204)
    assert Cursor.parse(nothing.headers["sync-cursor"]).offset == 0
    await http.put("/progress/a", json={})
    assert len((await polled(http, cursor=nothing.headers["sync-cursor"])).json()["rows"]) == 1


async def test_a_poller_that_holds_the_latest_is_told_so_with_304(http: httpx.AsyncClient):
    await http.put("/progress/a", json={})
    etag = (await polled(http)).headers["etag"]
    same = await http.get("/changes", headers={"If-None-Match": etag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    await http.put("/progress/a", json={})
    assert (await http.get("/changes", headers={"If-None-Match": etag})).status_code == 200


async def test_pages_follow_each_other_without_gap_or_repetition(http: httpx.AsyncClient):
    for n in range(7):
        await http.put(f"/progress/{n}", json={})
    cursor, offsets = None, list[int]()
    for more in (True, True, False):
        answer = (await polled(http, limit=3, **({"cursor": cursor} if cursor else {}))).json()
        assert answer["more"] is more
        offsets += [row["offset"] for row in answer["rows"]]
        cursor = answer["cursor"]
    assert offsets == [1, 2, 3, 4, 5, 6, 7]


async def test_only_the_resources_asked_for_come(http: httpx.AsyncClient):
    await http.put("/progress/a", json={})
    assert len((await polled(http, resources="progress")).json()["rows"]) == 1
    for unknown in ("nothing", "progress,nothing", "", "a\0"):
        problem(await http.get("/changes", params={"resources": unknown}), 422, "invalid")


async def test_another_reader_s_changes_never_come(http: httpx.AsyncClient, eve: httpx.AsyncClient):
    await http.put("/progress/a", json={})
    await polled(eve, 204)


async def test_a_write_typed_into_sql_comes_like_any_other(http: httpx.AsyncClient, database: Urls):
    await http.put("/progress/a", json={"percentage": 0.5, "device_id": "phone"})
    cursor = (await polled(http)).json()["cursor"]
    with psycopg.connect(database.owner) as connection:
        connection.execute("UPDATE reading_progress SET percentage = 0.75")
    [row] = (await polled(http, cursor=cursor, wait=10)).json()["rows"]
    assert (row["data"]["percentage"], row["device_id"]) == (0.75, None)


async def test_a_row_names_the_mutation_that_wrote_it(http: httpx.AsyncClient):
    mutation_id = "0199aaaa-0000-7000-8000-000000000001"
    await http.put("/progress/a", json={"mutation_id": mutation_id})
    [row] = (await polled(http)).json()["rows"]
    assert row["mutation_id"] == mutation_id


async def test_a_cursor_that_cannot_be_resumed_says_why_with_410(
    http: httpx.AsyncClient, eve: httpx.AsyncClient, database: Urls
):
    for key in "abc":
        await http.put(f"/progress/{key}", json={})
    await eve.put("/progress/a", json={})
    theirs = (await polled(eve)).headers["sync-cursor"]
    with psycopg.connect(database.owner) as connection:
        connection.execute("UPDATE channels SET floor = 2 WHERE owner = 'user:ada'")
    epoch = Cursor.parse(theirs).epoch
    bad = {
        "unreadable": ["", "x", "a.b", f"{epoch}.b.c", "a\0b", "a.b.\u0661"],
        "owner": [theirs],
        "epoch": [str(Cursor.at("other", "user:ada", 3))],
        "ahead": [str(Cursor.at(epoch, "user:ada", 4)), str(Cursor.at(epoch, "user:ada", 2**63 - 1))],
        "floor": [str(Cursor.at(epoch, "user:ada", 1))],
    }
    for reason, cursors in bad.items():
        for cursor in cursors:
            answer = await http.get("/changes", params={"cursor": cursor})
            assert problem(answer, 410, "refetch")["reason"] == reason
    await polled(http, cursor=str(Cursor.at(epoch, "user:ada", 2)))
    assert len((await polled(http)).json()["rows"]) == 3


@pytest.mark.parametrize(
    ("name", "values"),
    [("wait", ["61", "-1", "x"]), ("limit", ["0", "1001", "x"]), ("cursor", ["c" * 129])],
)
async def test_a_poll_that_cannot_be_is_invalid(http: httpx.AsyncClient, name: str, values: list[str]):
    for value in values:
        answer = await http.get("/changes", params={name: value})
        assert pointers(problem(answer, 422, "invalid")) == [f"/query/{name}"]
