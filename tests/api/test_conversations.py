"""Conversations and messages over REST: each route, both ways through messages, and what is not there."""

from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import pytest

from tests.api.problems import pointers, problem

HOME = "/conversations"
Raw = dict[str, Any]


async def begun(http: httpx.AsyncClient, title: str = "On Ahab", **more: Any) -> Raw:
    answer = await http.post(HOME, json={"title": title, **more})
    assert answer.status_code == 201, answer.text
    row: Raw = answer.json()
    return row


async def said(http: httpx.AsyncClient, home: str, content: str = "Hi", **more: Any) -> Raw:
    answer = await http.post(f"{HOME}/{home}/messages", json={"role": "user", "content": content, **more})
    assert answer.status_code == 201, answer.text
    row: Raw = answer.json()
    return row


async def thread(http: httpx.AsyncClient, home: str, **query: Any) -> Raw:
    answer = await http.get(f"{HOME}/{home}/messages", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    page: Raw = answer.json()
    assert page.keys() == {"items", "next", "previous"}
    return page


async def read(http: httpx.AsyncClient, home: str) -> Raw:
    answer = await http.get(f"{HOME}/{home}")
    assert answer.status_code == 200
    row: Raw = answer.json()
    return row


def at(minute: int) -> str:
    return f"2026-03-01T10:{minute:02}:00.000000Z"


async def test_it_is_begun_under_the_client_s_id_or_one_that_the_server_makes(http: httpx.AsyncClient):
    key = str(uuid4())
    answer = await http.post(HOME, json={"id": key.upper(), "title": "Who is Ishmael?", "device_id": "phone"})
    assert (answer.status_code, answer.headers["location"]) == (201, f"/api/v1{HOME}/{key}")
    assert (answer.headers["sync-status"], answer.headers["etag"]) == ("applied", f'"{answer.json()["offset"]}"')
    row = answer.json()
    assert (row["id"], row["title"], row["device_id"]) == (key, "Who is Ishmael?", "phone")
    assert row["created_at"] == row["updated_at"] == row["titled_at"]
    assert await read(http, key) == row

    made = [(await begun(http))["id"] for _ in range(3)]
    assert made == sorted(made)
    assert {UUID(one).version for one in made} == {7}


@pytest.mark.parametrize("own", [True, False], ids=["the client's id", "the server's"])
async def test_a_retry_gives_the_first_answer(http: httpx.AsyncClient, own: bool):
    mine = {"id": str(uuid4())} if own else {}
    body = {"title": "On Ahab", "mutation_id": str(uuid4()), **mine}
    first, again = [await http.post(HOME, json=body) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.json(), again.headers["sync-status"]) == (first.json(), "duplicate")
    words = {"role": "user", "content": "Hi", "mutation_id": str(uuid4()), **mine}
    place = f"{HOME}/{first.json()['id']}/messages"
    first, again = [await http.post(place, json=words) for _ in range(2)]
    assert (again.json(), again.headers["sync-status"]) == (first.json(), "duplicate")
    assert first.headers["location"] == f"/api/v1/messages/{first.json()['id']}"
    assert len((await http.get(place)).json()["items"]) == 1
    if own:
        assert (await http.delete(f"/messages/{mine['id']}")).status_code == 204
        problem(await http.post(place, json=words), 404, "not_found")


async def test_the_mutation_of_another_write_makes_nothing(http: httpx.AsyncClient):
    used = str(uuid4())
    home = (await begun(http, mutation_id=used))["id"]
    for path, body in (
        (f"{HOME}/{home}/messages", {"role": "user", "content": "Hi"}),
        ("/reading-sessions", {"publication_id": "moby"}),
    ):
        answer = await http.post(path, json={**body, "mutation_id": used})
        assert pointers(problem(answer, 422, "invalid")) == ["/mutation_id"]
    assert (await thread(http, home))["items"] == []


async def test_the_list_is_by_what_was_touched_last_and_a_message_is_a_touch(http: httpx.AsyncClient):
    first, second = await begun(http, "first"), await begun(http, "second")
    assert [row["title"] for row in (await http.get(HOME)).json()["items"]] == ["second", "first"]
    message = await said(http, first["id"], device_id="tablet")
    listed = (await http.get(HOME)).json()["items"]
    assert [row["title"] for row in listed] == ["first", "second"]
    raised = await read(http, first["id"])
    assert listed[0] == raised
    assert raised["updated_at"] == message["updated_at"] > first["updated_at"]
    assert raised["offset"] == message["offset"] + 1
    kept = ("title", "created_at", "titled_at", "device_id")
    assert [raised[name] for name in kept] == [first[name] for name in kept]
    assert await read(http, second["id"]) == second


async def test_an_older_message_does_not_make_it_older(http: httpx.AsyncClient):
    row = await begun(http)
    await said(http, row["id"], updated_at="2026-03-01T10:00:00Z")
    assert await read(http, row["id"]) == row


async def test_its_title_is_changed_by_patch_and_by_put(http: httpx.AsyncClient):
    row = await begun(http)
    answer = await http.patch(f"{HOME}/{row['id']}", json={"title": "On Starbuck"})
    assert (answer.status_code, answer.json()["title"]) == (200, "On Starbuck")
    assert answer.json()["created_at"] == row["created_at"]
    answer = await http.put(f"{HOME}/{row['id']}", json={"title": "On Queequeg"})
    assert (answer.json()["title"], answer.json()["created_at"]) == ("On Queequeg", row["created_at"])


async def test_deleting_it_takes_its_messages(http: httpx.AsyncClient):
    gone, stays = (await begun(http))["id"], (await begun(http))["id"]
    message, other = await said(http, gone), await said(http, stays)
    cursor = (await http.get("/changes")).json()["cursor"]
    answer = await http.delete(f"{HOME}/{gone}")
    assert (answer.status_code, answer.content) == (204, b"")
    for path in (f"{HOME}/{gone}", f"{HOME}/{gone}/messages", f"/messages/{message['id']}"):
        problem(await http.get(path), 404, "not_found")
    assert (await http.get("/messages")).json()["items"] == [other]
    rows = (await http.get("/changes", params={"cursor": cursor})).json()["rows"]
    assert {(row["resource"], row["key"], row["op"]) for row in rows} == {
        ("messages", message["id"], "remove"),
        ("conversations", gone, "remove"),
    }
    answer = await http.post(f"{HOME}/{gone}/messages", json={"role": "user", "content": "Hi"})
    problem(answer, 404, "removed")
    assert (await http.delete(f"{HOME}/{gone}")).status_code in {204, 404}


async def test_one_without_messages_has_an_empty_list(http: httpx.AsyncClient):
    home = (await begun(http))["id"]
    empty: Raw = {"items": [], "next": None, "previous": None}
    assert await thread(http, home) == await thread(http, home, latest=True) == empty


async def test_messages_are_listed_oldest_first_and_equal_times_by_id(http: httpx.AsyncClient):
    home = (await begun(http))["id"]
    late = await said(http, home, "last", updated_at=at(9))
    equal = [await said(http, home, f"equal {n}", updated_at=at(5), id=str(uuid4())) for n in range(6)]
    early = await said(http, home, "first", updated_at=at(1), role="system")
    expected = [early, *sorted(equal, key=lambda row: row["id"]), late]
    assert (await thread(http, home))["items"] == expected
    await http.patch(f"/messages/{early['id']}", json={"content": "still the first"})
    shown = (await thread(http, home))["items"]
    assert [row["id"] for row in shown] == [row["id"] for row in expected]
    assert (shown[0]["content"], shown[0]["created_at"]) == ("still the first", at(1))


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
async def test_pages_lead_through_equal_times_both_ways(http: httpx.AsyncClient, limit: int):
    home = (await begun(http))["id"]
    for number in range(7):
        await said(http, home, str(number), updated_at=at(number // 3))
    whole = (await thread(http, home, limit=500))["items"]
    assert len(whole) == 7
    forward = [await thread(http, home, limit=limit)]
    while forward[-1]["next"]:
        forward.append(await thread(http, home, limit=limit, after=forward[-1]["next"]))
    assert [row for page in forward for row in page["items"]] == whole
    backward = [await thread(http, home, limit=limit, latest=True)]
    while backward[-1]["previous"]:
        backward.append(await thread(http, home, limit=limit, before=backward[-1]["previous"]))
    assert [row for page in reversed(backward) for row in page["items"]] == whole
    for here, there in pairwise(forward):
        assert (await thread(http, home, limit=limit, before=there["previous"]))["items"] == here["items"]
    for here, there in pairwise(backward):
        assert (await thread(http, home, limit=limit, after=there["next"]))["items"] == here["items"]


async def test_a_message_for_what_is_not_there_is_not_found(http: httpx.AsyncClient, eve: httpx.AsyncClient):
    home = (await begun(http))["id"]
    message = (await said(http, home))["id"]
    body = {"role": "user", "content": "Hi"}
    for who, place in ((http, str(uuid4())), (eve, home)):
        problem(await who.get(f"{HOME}/{place}/messages"), 404, "not_found")
        problem(await who.post(f"{HOME}/{place}/messages", json=body), 404, "not_found")
        whole = {**body, "conversation_id": place}
        problem(await who.put(f"/messages/{uuid4()}", json=whole), 404, "not_found")
    for path, fields in ((f"{HOME}/{home}", {"title": "mine"}), (f"/messages/{message}", {"content": "mine"})):
        problem(await eve.get(path), 404, "not_found")
        problem(await eve.patch(path, json=fields), 404, "not_found")
        problem(await eve.delete(path), 404, "not_found")
    assert (await eve.get(HOME)).json()["items"] == (await eve.get("/messages")).json()["items"] == []
    assert (await thread(http, home))["items"][0]["content"] == "Hi"


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({}, ["/role", "/content"]),
        ({"role": "robot", "content": "x"}, ["/role"]),
        ({"role": "user", "content": ""}, ["/content"]),
        ({"role": "user", "content": "a\0b"}, ["/content"]),
        ({"role": "user", "content": 5}, ["/content"]),
        ({"role": "user", "content": "x", "id": "mine"}, ["/id"]),
        ({"role": "user", "content": "x", "created_at": "yesterday"}, ["/created_at"]),
        ({"role": "user", "content": "x", "conversation_id": str(uuid4())}, ["/conversation_id"]),
    ],
)
async def test_a_wrong_message_is_told_where(http: httpx.AsyncClient, body: Raw, places: list[str]):
    home = (await begun(http))["id"]
    document = problem(await http.post(f"{HOME}/{home}/messages", json=body), 422, "invalid")
    assert pointers(document) == places
    assert (await thread(http, home))["items"] == []


@pytest.mark.parametrize("body", [{}, {"title": ""}, {"title": "a\nb"}, {"title": None}])
async def test_a_wrong_title_is_told_where(http: httpx.AsyncClient, body: Raw):
    assert pointers(problem(await http.post(HOME, json=body), 422, "invalid")) == ["/title"]


async def test_a_text_that_is_too_long_is_told_so(http: httpx.AsyncClient):
    row = await begun(http, "x" * 255)
    problem(await http.post(HOME, json={"title": "x" * 256}), 413, "too_large")
    words = {"role": "user", "content": "x" * 16_001}
    problem(await http.post(f"{HOME}/{row['id']}/messages", json=words), 413, "too_large")
    assert (await thread(http, row["id"]))["items"] == []


async def test_a_text_that_is_none_is_told_so(http: httpx.AsyncClient):
    home = (await begun(http))["id"]
    for content in (b"\\ud800", b"\xed\xa0\x80"):
        raw = b'{"role": "user", "content": "' + content + b'"}'
        answer = await http.post(f"{HOME}/{home}/messages", content=raw, headers={"Content-Type": "application/json"})
        assert answer.status_code in {400, 422}, answer.text
    longest = "𝄞" * 15_998 + "\r\n"
    assert (await said(http, home, longest))["content"] == longest


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({"limit": 0}, "/query/limit"),
        ({"limit": 501}, "/query/limit"),
        ({"after": "x"}, "/query/after"),
        ({"before": "x"}, "/query/before"),
        ({"before": "WyIyMDI2LTAzLTAxVDEwOjAwOjAwWiIsICJhIl0"}, "/query/before"),
        ({"after": "x", "before": "x"}, "/query/before"),
        ({"latest": "perhaps"}, "/query/latest"),
    ],
)
async def test_a_wrong_question_is_told_where(http: httpx.AsyncClient, query: Raw, place: str):
    home = (await begun(http))["id"]
    assert pointers(problem(await http.get(f"{HOME}/{home}/messages", params=query), 422, "invalid")) == [place]
    assert pointers(problem(await http.get(f"{HOME}/moby/messages"), 422, "invalid")) == ["/path/key"]


async def test_a_message_stays_whose_it_is_and_where_it_is(http: httpx.AsyncClient):
    home, other = (await begun(http))["id"], (await begun(http))["id"]
    message = await said(http, home)
    path = f"/messages/{message['id']}"
    for fields, places in (
        ({"role": "assistant"}, ["/role"]),
        ({"conversation_id": other, "content": "elsewhere"}, ["/conversation_id"]),
    ):
        assert pointers(problem(await http.patch(path, json=fields), 422, "invalid")) == places
    whole = {"role": "assistant", "conversation_id": other, "content": "x"}
    document = problem(await http.put(path, json=whole), 422, "invalid")
    assert pointers(document) == ["/conversation_id", "/role"]
    assert (await http.get(path)).json() == message


async def test_nothing_is_created_in_the_future_and_created_stays(http: httpx.AsyncClient):
    row = await begun(http, created_at="2999-01-01T00:00:00Z")
    assert row["created_at"] == row["updated_at"]
    message = await said(http, row["id"], created_at="2999-01-01T00:00:00Z", updated_at=at(5))
    assert (message["created_at"], message["updated_at"]) == (at(5), at(5))
    early = await said(http, row["id"], created_at=at(1))
    assert early["created_at"] == at(1)
    whole = {"conversation_id": row["id"], "role": "user", "content": "anew", "created_at": at(30)}
    again = (await http.put(f"/messages/{early['id']}", json=whole)).json()
    assert (again["content"], again["created_at"]) == ("anew", at(1))


async def test_a_conversation_and_its_messages_go_together_under_names_that_only_the_client_knows(
    http: httpx.AsyncClient,
):
    def write(resource: str, name: str, data: Raw) -> Raw:
        made = {"mutation_id": str(uuid4()), "resource": resource, "op": "put", "updated_at": at(1)}
        return {**made, "key": {"temp": name}, "data": data}

    words = [
        write("messages", f"m{n}", {"conversation_id": {"$temp": "c1"}, "role": "user", "content": str(n)})
        for n in range(5)
    ]
    body = {
        "device": {"id": "phone"},
        "client_id": "phone",
        "mutations": [write("conversations", "c1", {"title": "A"}), *words],
    }
    for status in ("applied", "duplicate"):
        acks = (await http.post("/push", json=body)).json()["acks"]
        assert [ack["status"] for ack in acks] == [status] * 6, orjson.dumps(acks)
    home = acks[0]["id_map"]["c1"]
    shown = (await thread(http, home))["items"]
    assert {row["created_at"] for row in shown} == {at(1)}
    assert [row["content"] for row in shown] == [str(n) for n in range(5)]
