"""The routes that every resource has."""

from typing import Any

import pytest

from syncserver import resources
from tests.api.problems import pointers, problem
from tests.contract.owner import Owner, at, listing, place
from tests.resources import samples

WRITTEN = pytest.mark.parametrize("resource", samples.written())
READ_ONLY = pytest.mark.parametrize("resource", [name for name in samples.every() if name not in samples.written()])


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


@WRITTEN
async def test_a_row_is_written_read_changed_and_removed(ada: Owner, resource: str):
    found, mark = resources.catalog()[resource], samples.marked(resource, "first")
    put = await ada.put(resource, "a", "first", device_id="phone", device_name="Ada's phone", updated_at=at(1))
    assert (put.status_code, put.headers["sync-status"]) == (200, "applied"), put.text
    row = put.json()
    assert (row[found.key], row[mark]) == (ada.key(resource, "a"), "first")
    assert (row["device_id"], row["updated_at"]) == ("phone", at(1))
    assert put.headers["etag"] == f'"{row["offset"]}"'
    assert row.keys() == {*(column.name for column in found.columns), "offset"}

    got = await ada.http.get(ada.route(resource, "a"))
    assert (got.json(), got.headers["etag"]) == (row, put.headers["etag"])
    assert got.headers["cache-control"] == "private, no-store"

    body = {mark: "second", "device_id": "tablet", "updated_at": at(2)}
    patched = await ada.http.patch(ada.route(resource, "a"), json=body)
    assert (patched.status_code, patched.json()[mark], patched.json()["device_id"]) == (200, "second", "tablet")
    untouched = {*found.fields} - {mark, *found.rules}
    assert {n: patched.json()[n] for n in untouched} | {"offset": 0} == {n: row[n] for n in untouched} | {"offset": 0}
    assert await ada.rows(resource) == [without(patched.json(), *found.heavy)]

    removed = await ada.http.delete(ada.route(resource, "a"), params={"updated_at": at(3), "device_id": "phone"})
    assert (removed.status_code, removed.content, removed.headers["sync-status"]) == (204, b"", "applied")
    problem(await ada.http.get(ada.route(resource, "a")), 404, "not_found")
    assert await ada.rows(resource) == []


@WRITTEN
async def test_what_is_not_there_or_gone_cannot_be_read_changed_or_removed(ada: Owner, resource: str):
    route, change = ada.route(resource, "nothing"), {samples.marked(resource, "mark"): "mark"}
    problem(await ada.http.get(route), 404, "not_found")
    problem(await ada.http.patch(route, json=change), 404, "not_found")
    problem(await ada.http.delete(route), 404, "not_found")
    await ada.put(resource, "nothing", "mark")
    await ada.http.delete(route)
    problem(await ada.http.patch(route, json=change), 404, "removed")
    assert (await ada.put(resource, "nothing", "back")).status_code == 200


@WRITTEN
async def test_a_wrong_value_is_told_with_its_place(ada: Owner, resource: str):
    mark = samples.marked(resource, "mark")
    wrong = await ada.http.put(ada.route(resource, "a"), json={**ada.fields(resource, "mark"), mark: 7})
    assert pointers(problem(wrong, 422, "invalid")) == [f"/{mark}"]
    assert await ada.rows(resource) == []
    await ada.put(resource, "a", "mark")
    assert pointers(problem(await ada.http.patch(ada.route(resource, "a"), json={mark: 7}), 422, "invalid")) == [
        f"/{mark}"
    ]
    assert pointers(problem(await ada.http.get(place(resource, "\x01")), 422, "invalid")) == ["/path/key"]
    match = {"If-Match": "the latest"}
    unmatched = await ada.http.put(ada.route(resource, "a"), json=ada.fields(resource, "mark"), headers=match)
    assert pointers(problem(unmatched, 422, "invalid")) == ["/header/if-match"]
    for query in ({"limit": 0}, {"limit": 501}, {"after": "no token"}):
        answer = await ada.http.get(listing(resource), params=query)
        assert pointers(problem(answer, 422, "invalid")) == [f"/query/{name}" for name in query]


@WRITTEN
async def test_whoever_names_the_etag_wins_and_whoever_is_late_and_does_not_is_told_the_winner(
    ada: Owner, resource: str
):
    mark = samples.marked(resource, "mark")
    assert (await ada.put(resource, "a", "new", updated_at=at(9), device_id="phone")).status_code == 200
    late = {"updated_at": at(1), "device_id": "tablet"}
    document = problem(await ada.put(resource, "a", "old", **late), 409, "superseded")
    assert (document["row"]["data"][mark], document["row"]["device_id"]) == ("new", "phone")
    assert len(document["conflict_id"]) == 36

    fields = {**ada.fields(resource, "knew"), **late}
    known = {"If-Match": (await ada.http.get(ada.route(resource, "a"))).headers["etag"]}
    knew = await ada.http.put(ada.route(resource, "a"), json=fields, headers=known)
    assert (knew.status_code, knew.json()[mark]) == (200, "knew")
    assert knew.json()["updated_at"] > at(9)
    stale = {**ada.fields(resource, "stale"), **late}
    problem(await ada.http.put(ada.route(resource, "a"), json=stale, headers=known), 409, "superseded")
    gone = await ada.http.delete(ada.route(resource, "a"), params=late, headers={"If-Match": knew.headers["etag"]})
    assert gone.status_code == 204


@WRITTEN
async def test_a_list_is_newest_first_in_pages_that_miss_and_repeat_nothing(ada: Owner, resource: str):
    for n in range(3):
        assert (await ada.put(resource, f"{n}", f"mark {n}", updated_at=at(n))).status_code == 200
    rows = await ada.rows(resource)
    mark = samples.marked(resource, "mark 0")
    assert [row[mark] for row in rows] == ["mark 2", "mark 1", "mark 0"]
    assert not any(row.keys() & resources.catalog()[resource].heavy for row in rows)
    pages, query = [], {"limit": "1"}
    while "after" not in query or query["after"]:
        page = (await ada.http.get(listing(resource), params=query)).json()
        pages.append(page["items"])
        query["after"] = page["next"]
    assert pages == [[row] for row in rows]


@WRITTEN
async def test_a_list_is_filtered_by_what_the_resource_says(ada: Owner, resource: str):
    await ada.put(resource, "a", "mine", updated_at=at(0))
    await ada.put(resource, "b", "other", updated_at=at(1))
    one, other = [await ada.http.get(ada.route(resource, name)) for name in "ab"]
    for name in resources.catalog()[resource].filters:
        wanted = one.json()[name]
        found = await ada.rows(resource, **{name: wanted})
        same = [row for row in (other.json(), one.json()) if row[name] == wanted]
        assert [row["offset"] for row in found] == [row["offset"] for row in same], name
    for name in resources.catalog()[resource].conditions:
        assert pointers(problem(await ada.http.get(listing(resource), params={name: "maybe"}), 422, "invalid"))
        assert isinstance(await ada.rows(resource, **{name: "true"}), list)


@WRITTEN
async def test_a_retry_with_its_mutation_id_is_answered_as_the_first_time(ada: Owner, resource: str):
    again = {"mutation_id": "0199aaaa-0000-7000-8000-000000000001", "updated_at": at(1)}
    answers = [await ada.put(resource, "a", "mark", **again) for _ in range(2)]
    assert [answer.headers["sync-status"] for answer in answers] == ["applied", "duplicate"]
    assert answers[0].json() == answers[1].json()


@READ_ONLY
async def test_a_row_that_no_client_writes_is_read_and_every_write_is_refused(ada: Owner, by_sql, resource: str):
    found = resources.catalog()[resource]
    key, route = ada.key(resource, ada.name), ada.route(resource, ada.name)
    before = len(await ada.rows(resource))
    samples.insert(by_sql, resource, ada.name, key, "mark", ada.session)
    row = (await ada.http.get(route)).json()
    assert row[found.key] == key
    assert without(row, *found.heavy) in (listed := await ada.rows(resource))
    assert len(listed) == before + 1

    for method in ("PUT", "PATCH"):
        problem(await ada.http.request(method, route, json={}), 405, "method_not_allowed")
    ops = ("put", "patch") if found.removable else ("put", "patch", "remove")
    acks = await ada.push("phone", *[{**ada.mutation(resource, op, ada.name), "data": {}} for op in ops])
    assert {(ack["status"], ack["code"]) for ack in acks} == {("rejected", "forbidden")}
    assert (await ada.http.get(route)).json() == row

    if found.removable:
        assert (await ada.http.delete(route)).status_code == 204
        assert len(await ada.rows(resource)) == before
