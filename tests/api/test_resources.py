from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from syncserver.core import clock
from tests.api.problems import pointers, problem
from tests.harness import Urls

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: int) -> str:
    return clock.write(NOON + timedelta(seconds=seconds))


def path(key: str) -> str:
    return f"/progress/{quote(key, safe='')}"


async def listed(http: httpx.AsyncClient, **query: Any) -> list[list[str]]:
    """The keys of every page of a list."""
    pages: list[list[str]] = []
    while True:
        answer = await http.get("/progress", params=query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "private, no-store"
        found = answer.json()
        pages.append([row["publication_id"] for row in found["items"]])
        if found["next"] is None:
            return pages
        query["after"] = found["next"]


async def test_a_row_is_written_read_changed_and_removed(http: httpx.AsyncClient):
    locator = {"href": "c1.xhtml", "type": "application/xhtml+xml", "locations": {"cssSelector": "#p"}}
    whole = {"percentage": 0.25, "position": "/body/p[3]", "position_kind": "xpointer", "locator": locator}
    put = await http.put("/progress/moby-dick", json={**whole, "device_id": "phone", "device_name": "Ada's phone"})
    assert (put.status_code, put.headers["etag"], put.headers["sync-status"]) == (200, '"1"', "applied")
    row = put.json()
    assert {name: row[name] for name in whole} == whole
    assert (row["publication_id"], row["furthest"], row["offset"]) == ("moby-dick", 0.25, 1)
    assert (row["device_id"], row["device_name"], row["status"]) == ("phone", "Ada's phone", "reading")

    got = await http.get("/progress/moby-dick")
    assert (got.json(), got.headers["etag"]) == (row, '"1"')
    assert got.headers["cache-control"] == "private, no-store"

    patched = await http.patch("/progress/moby-dick", json={"percentage": 0.1, "locator": None})
    assert patched.headers["etag"] == '"2"'
    assert {**row, **patched.json()} == patched.json()
    changed = {name for name in row if row[name] != patched.json()[name]}
    assert changed == {"percentage", "locator", "device_id", "device_name", "updated_at", "offset"}

    removed = await http.delete("/progress/moby-dick")
    assert (removed.status_code, removed.content, removed.headers["sync-status"]) == (204, b"", "applied")
    problem(await http.get("/progress/moby-dick"), 404, "not_found")


async def test_what_is_not_there_cannot_be_read_changed_or_removed(http: httpx.AsyncClient):
    problem(await http.get("/progress/nothing"), 404, "not_found")
    problem(await http.patch("/progress/nothing", json={"percentage": 0.5}), 404, "not_found")
    problem(await http.delete("/progress/nothing"), 404, "not_found")
    await http.put("/progress/gone", json={})
    await http.delete("/progress/gone")
    problem(await http.patch("/progress/gone", json={"percentage": 0.5}), 404, "removed")
    assert (await http.put("/progress/gone", json={})).status_code == 200


_positions = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=300)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=_positions)
@example(position="")
@example(position='"\\/\b\u2028\ufeff\uffff\U0010ffff')
@example(position="epubcfi(/6/4[chap01ref]!/4[body01]/10[para05]/3:10)")
@example(position="\U0001f4d6" * 4096)
@example(position="é" + "e\u0301")
async def test_a_position_is_kept_byte_for_byte(http: httpx.AsyncClient, position: str):
    assert (await http.put("/progress/k", json={"position": position})).status_code == 200
    assert (await http.get("/progress/k")).json()["position"] == position


async def test_a_key_may_hold_whatever_can_be_shown(http: httpx.AsyncClient):
    keys = ["a/b", "a//b/", "/", "100%", "%2F", "a b", "ключ", "📖", "?x=1#y", "a\\b", "urn:isbn:1", "k" * 512]
    for key in keys:
        put = await http.put(path(key), json={})
        assert put.json()["publication_id"] == key
        assert (await http.get(path(key))).json() == put.json()
    assert sorted((await listed(http))[0]) == sorted(keys)
    for key in keys:
        assert (await http.delete(path(key))).status_code == 204


async def test_an_older_write_is_superseded_with_the_winner_and_the_record(http: httpx.AsyncClient):
    new = {"percentage": 0.5, "updated_at": at(9), "device_id": "phone"}
    old = {"percentage": 0.9, "updated_at": at(1), "device_id": "tablet"}
    await http.put("/progress/k", json=new)
    for answer in (
        await http.put("/progress/k", json=old),
        await http.patch("/progress/k", json={**old, "percentage": 0.1}),
        await http.delete("/progress/k", params={"updated_at": at(1), "device_id": "tablet"}),
    ):
        document = problem(answer, 409, "superseded")
        assert document["row"]["data"]["percentage"] == 0.5
        assert (document["row"]["op"], document["row"]["device_id"]) == ("put", "phone")
        assert len(document["conflict_id"]) == 36
    row = (await http.get("/progress/k")).json()
    assert (row["percentage"], row["furthest"]) == (0.5, 0.9)


async def test_a_tombstone_keeps_an_older_edit_from_bringing_the_row_back(http: httpx.AsyncClient):
    await http.put("/progress/k", json={"updated_at": at(1)})
    await http.delete("/progress/k", params={"updated_at": at(5), "device_id": "phone"})
    late = await http.put("/progress/k", json={"updated_at": at(3), "device_id": "tablet"})
    row = problem(late, 409, "superseded")["row"]
    assert (row["op"], row["data"], row["updated_at"]) == ("remove", None, at(5))
    assert (await http.put("/progress/k", json={"updated_at": at(7)})).status_code == 200


async def test_the_same_write_again_is_no_conflict(http: httpx.AsyncClient):
    body = {"percentage": 0.5, "updated_at": at(1), "device_id": "phone"}
    first, again = await http.put("/progress/k", json=body), await http.put("/progress/k", json=body)
    assert (again.status_code, again.json()) == (200, first.json())


async def test_whoever_names_the_row_s_etag_wins_whatever_the_clocks_say(http: httpx.AsyncClient):
    first = await http.put("/progress/k", json={"percentage": 0.5, "updated_at": at(9), "device_id": "phone"})
    late = {"percentage": 0.1, "updated_at": at(1), "device_id": "tablet"}
    knew = await http.put("/progress/k", json=late, headers={"If-Match": first.headers["etag"]})
    assert (knew.status_code, knew.json()["percentage"]) == (200, 0.1)
    assert knew.json()["updated_at"] > first.json()["updated_at"]
    problem(await http.put("/progress/k", json=late, headers={"If-Match": '"1"'}), 409, "superseded")
    based = await http.put("/progress/k", json={**late, "base": knew.json()["offset"], "furthest": 0})
    assert (based.status_code, based.json()["furthest"]) == (200, 0.1)
    removal = {"updated_at": at(1), "device_id": "tablet"}
    removed = await http.delete("/progress/k", params=removal, headers={"If-Match": based.headers["etag"]})
    assert removed.status_code == 204


async def test_a_policy_may_be_asked_for(http: httpx.AsyncClient):
    await http.put("/progress/k", json={"percentage": 0.5, "updated_at": at(5), "device_id": "phone"})
    other = {"percentage": 0.1, "device_id": "tablet"}
    problem(
        await http.put("/progress/k", json={**other, "updated_at": at(9), "policy": "server-wins"}), 409, "superseded"
    )
    forced = await http.put("/progress/k", json={**other, "updated_at": at(1), "policy": "client-wins"})
    assert (forced.status_code, forced.json()["percentage"]) == (200, 0.1)


async def test_a_retry_with_its_mutation_id_is_answered_as_the_first_time(http: httpx.AsyncClient):
    body = {"percentage": 0.5, "mutation_id": "0199aaaa-0000-7000-8000-000000000001"}
    first, again = await http.put("/progress/k", json=body), await http.put("/progress/k", json=body)
    assert [a.headers["sync-status"] for a in (first, again)] == ["applied", "duplicate"]
    assert again.json() == first.json()


async def test_another_reader_s_rows_are_as_if_they_were_not_there(http: httpx.AsyncClient, eve: httpx.AsyncClient):
    await http.put("/progress/k", json={"percentage": 0.5})
    problem(await eve.get("/progress/k"), 404, "not_found")
    problem(await eve.patch("/progress/k", json={"percentage": 0.1}), 404, "not_found")
    problem(await eve.delete("/progress/k"), 404, "not_found")
    assert await listed(eve) == [[]]
    assert (await eve.put("/progress/k", json={"percentage": 0.9})).headers["etag"] == '"1"'
    assert (await http.get("/progress/k")).json()["percentage"] == 0.5


async def test_a_list_is_newest_first_and_filtered_by_series_and_status(http: httpx.AsyncClient):
    for n, (series, status) in enumerate([("s", "reading"), ("s", "finished"), ("t", "reading"), (None, "finished")]):
        await http.put(f"/progress/{n}", json={"series_id": series, "status": status, "updated_at": at(n)})
    assert await listed(http) == [["3", "2", "1", "0"]]
    assert await listed(http, series_id="s") == [["1", "0"]]
    assert await listed(http, status="finished") == [["3", "1"]]
    assert await listed(http, series_id="s", status="reading") == [["0"]]
    assert await listed(http, series_id="none") == [[]]
    assert await listed(http, status="finished", limit=1) == [["3"], ["1"]]
    [row] = (await http.get("/progress", params={"limit": 1})).json()["items"]
    assert row == (await http.get("/progress/3")).json()


async def test_pages_miss_and_repeat_nothing_even_where_stamps_are_equal(http: httpx.AsyncClient, database: Urls):
    with psycopg.connect(database.owner) as connection:
        connection.execute(
            "INSERT INTO reading_progress (owner, publication_id, updated_at) SELECT 'user:ada', 'k' || n, %s"
            " FROM generate_series(1, 50) n",
            [NOON],
        )
    first = (await http.get("/progress", params={"limit": 7})).json()
    pages = await listed(http, limit=7)
    assert [len(p) for p in pages] == [7] * 7 + [1]
    assert len({key for p in pages for key in p}) == 50
    await http.put("/progress/newest", json={})
    after = (await http.get("/progress", params={"limit": 7, "after": first["next"]})).json()
    assert [row["publication_id"] for row in after["items"]] == pages[1]


async def test_pages_go_on_past_the_longest_keys_and_the_oldest_stamps(http: httpx.AsyncClient):
    keys = ["\U0001f4d6" * 512, "漢" * 512, "k"]
    for key in keys:
        await http.put(path(key), json={"updated_at": "0001-01-02T00:00:00Z"})
    pages = await listed(http, limit=1)
    assert sorted(key for [key] in pages) == sorted(keys)


async def test_a_list_that_cannot_be_is_invalid(http: httpx.AsyncClient):
    queries = {
        "limit": ["0", "501", "-1", "x", "1.5", ""],
        "after": ["x", "é", "W10", "WzEsMl0", "e30", "x" * 5000],
        "status": ["started", ""],
        "series_id": ["", "a\0"],
    }
    for name, values in queries.items():
        for value in values:
            answer = await http.get("/progress", params={name: value})
            assert pointers(problem(answer, 422, "invalid")) == [f"/query/{name}"], value


async def test_a_patch_that_makes_the_row_wrong_is_told_where(http: httpx.AsyncClient):
    await http.put("/progress/k", json={"percentage": 0.5})
    document = problem(await http.patch("/progress/k", json={"percentage": 2, "status": "lost"}), 422, "invalid")
    assert pointers(document) == ["/percentage", "/status"]
