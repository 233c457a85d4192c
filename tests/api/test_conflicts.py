"""Conflicts that people can see, and undo."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from syncserver.core import bodies
from tests.api.problems import pointers, problem


async def written(http: httpx.AsyncClient, device: str, at: str, key: str = "moby", **fields: Any) -> httpx.Response:
    body = {"device_id": device, "updated_at": f"2026-03-01T{at}:00Z", **fields}
    return await http.put(f"/progress/{key}", json=body)


async def lost(http: httpx.AsyncClient, key: str = "moby", **older: Any) -> str:
    """The phone's older version loses against the tablet's: the id of that conflict."""
    assert (await written(http, "tablet", "09:00", key, percentage=0.5, position="tablet's")).status_code == 200
    answer = await written(http, "phone", "08:00", key, **{"percentage": 0.25, "position": "phone's", **older})
    assert answer.status_code == 409
    return str(answer.json()["conflict_id"])


async def listed(http: httpx.AsyncClient, **query: Any) -> bodies.ConflictsAnswer:
    answer = await http.get("/conflicts", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    return bodies.ConflictsAnswer.model_validate_json(answer.content)


async def test_a_conflict_is_shown_with_both_versions(http: httpx.AsyncClient):
    conflict_id = await lost(http)
    answer = await http.get(f"/conflicts/{conflict_id}")
    found = bodies.ConflictAnswer.model_validate_json(answer.content)
    assert (found.resource, found.key, found.reason, found.policy) == (
        "progress",
        "moby",
        "updated_at",
        "last-write-wins",
    )
    assert (found.winner.device_id, found.loser.device_id, found.restored_at) == ("tablet", "phone", None)
    assert found.loser.fields is not None
    assert found.loser.fields["position"] == "phone's"
    assert (await listed(http)).items == [found]


async def test_the_list_is_newest_first_filtered_and_goes_on_where_it_ended(http: httpx.AsyncClient):
    ids = [await lost(http, key) for key in ("a", "b", "c")]
    first = await listed(http, limit=2)
    second = await listed(http, limit=2, after=first.next)
    assert [c.id for c in (*first.items, *second.items)] == ids[::-1]
    assert second.next is None
    assert [c.id for c in (await listed(http, key="b")).items] == [ids[1]]
    assert [c.id for c in (await listed(http, resource="progress", key="c")).items] == [ids[2]]
    assert (await listed(http, resource="other")).items == []


async def test_restoring_makes_the_loser_a_new_write_that_every_device_gets(http: httpx.AsyncClient):
    conflict_id = await lost(http)
    before = (await http.get("/changes")).json()["cursor"]
    answer = await http.post(f"/conflicts/{conflict_id}/restore", json={"device_id": "phone"})
    assert (answer.status_code, answer.headers["sync-status"]) == (200, "applied")
    row = answer.json()
    assert (row["position"], row["percentage"], row["device_id"]) == ("phone's", 0.25, "phone")
    [change] = (await http.get("/changes", params={"cursor": before})).json()["rows"]
    assert (change["data"]["position"], change["offset"]) == ("phone's", row["offset"])
    assert len((await listed(http)).items) == 1
    assert (await listed(http)).items[0].restored_at is not None


async def test_restoring_keeps_the_furthest_place(http: httpx.AsyncClient):
    conflict_id = await lost(http)
    assert (await http.post(f"/conflicts/{conflict_id}/restore")).json()["furthest"] == 0.5


async def test_a_removal_that_lost_can_be_restored_and_so_can_what_lost_against_a_removal(http: httpx.AsyncClient):
    await written(http, "tablet", "09:00", percentage=0.5, furthest=0.75)
    gone = await http.delete("/progress/moby", params={"device_id": "phone", "updated_at": "2026-03-01T08:00:00Z"})
    answer = await http.post(f"/conflicts/{gone.json()['conflict_id']}/restore")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await http.get("/progress/moby")).status_code == 404

    late = await written(http, "phone", "08:30", percentage=0.25, furthest=0.75)
    assert late.status_code == 409
    answer = await http.post(f"/conflicts/{late.json()['conflict_id']}/restore")
    assert (answer.json()["percentage"], answer.json()["furthest"]) == (0.25, 0.75)


async def test_a_retry_of_a_restore_does_it_once(http: httpx.AsyncClient):
    body = {"mutation_id": str(uuid4())}
    conflict_id = await lost(http)
    first = await http.post(f"/conflicts/{conflict_id}/restore", json=body)
    again = await http.post(f"/conflicts/{conflict_id}/restore", json=body)
    assert (again.headers["sync-status"], again.json()["offset"]) == ("duplicate", first.json()["offset"])


async def test_anothers_conflict_is_not_there(http: httpx.AsyncClient, eve: httpx.AsyncClient):
    conflict_id = await lost(http)
    assert problem(await eve.get(f"/conflicts/{conflict_id}"), 404, "not_found")
    assert problem(await eve.post(f"/conflicts/{conflict_id}/restore"), 404, "not_found")
    assert (await listed(eve)).items == []


@pytest.mark.parametrize("name", ["x", "0199aaaa-0000-7000-8000-00000000000f", "%00"])
async def test_a_conflict_that_is_none_is_not_there(http: httpx.AsyncClient, name: str):
    assert (await http.get(f"/conflicts/{name}")).status_code == 404
    assert (await http.post(f"/conflicts/{name}/restore")).status_code == 404


async def test_what_a_list_cannot_do_is_said_with_its_place(http: httpx.AsyncClient):
    for query, place in [({"limit": 0}, "/query/limit"), ({"after": "x"}, "/query/after"), ({"key": ""}, "/query/key")]:
        found = problem(await http.get("/conflicts", params=query), 422, "invalid")  # type: ignore[arg-type]
        assert pointers(found) == [place]
    progress = (await http.get("/progress", params={"limit": 1})).json()["next"]
    assert progress is None
    bad = await http.post(f"/conflicts/{await lost(http)}/restore", json={"mutation_id": "1"})
    assert pointers(problem(bad, 422, "invalid")) == ["/mutation_id"]
