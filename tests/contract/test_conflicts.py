"""Two devices that did not know of each other: of every resource, one version wins and the other can be had back."""

import pytest

from tests.api.problems import problem
from tests.contract.owner import Owner, at
from tests.resources import samples

WRITTEN = pytest.mark.parametrize("resource", samples.written())


@WRITTEN
@pytest.mark.parametrize("order", ["the older first", "the newer first"])
async def test_the_later_write_wins_and_the_loser_is_kept_and_can_be_restored(ada: Owner, resource: str, order: str):
    mark = samples.marked(resource, "mark")
    older = ("phone", ada.mutation(resource, "put", "a", "older", updated_at=at(1)))
    newer = ("tablet", ada.mutation(resource, "put", "a", "newer", updated_at=at(2)))
    acks = [await ada.push(*write) for write in ([newer, older] if order == "the newer first" else [older, newer])]
    assert acks[1][0]["status"] in ({"superseded"} if order == "the newer first" else {"applied", "merged"})
    route = ada.route(resource, "a")
    assert (await ada.http.get(route)).json()[mark] == "newer"

    about = {"resource": resource, "key": ada.key(resource, "a")}
    [conflict] = (await ada.http.get("/conflicts", params=about)).json()["items"]
    assert conflict["id"] == acks[1][0]["conflict_id"]
    versions = {name: (conflict[name]["fields"][mark], conflict[name]["device_id"]) for name in ("winner", "loser")}
    assert versions == {"winner": ("newer", "tablet"), "loser": ("older", "phone")}

    restored = await ada.http.post(f"/conflicts/{conflict['id']}/restore", json={"device_id": "laptop"})
    assert (restored.status_code, restored.json()[mark]) == (200, "older"), restored.text
    assert (await ada.http.get(route)).json() == restored.json()
    assert (await ada.http.get(f"/conflicts/{conflict['id']}")).json()["restored_at"] is not None


@WRITTEN
async def test_of_writes_of_one_moment_that_of_the_greater_device_id_wins_in_either_order(ada: Owner, resource: str):
    mark = samples.marked(resource, "mark")
    for name, devices in (("a", ("alpha", "beta")), ("b", ("beta", "alpha"))):
        for device in devices:
            await ada.push(device, ada.mutation(resource, "put", name, f"by {device}", updated_at=at(1)))
        row = (await ada.http.get(ada.route(resource, name))).json()
        assert (row[mark], row["device_id"]) == ("by beta", "beta")


@WRITTEN
async def test_a_writer_may_ask_for_another_policy(ada: Owner, resource: str):
    mark = samples.marked(resource, "mark")
    await ada.put(resource, "a", "there", updated_at=at(5), device_id="phone")
    yielding = await ada.put(resource, "a", "later", updated_at=at(9), device_id="tablet", policy="server-wins")
    assert problem(yielding, 409, "superseded")["row"]["data"][mark] == "there"
    forced = await ada.put(resource, "a", "sooner", updated_at=at(1), device_id="tablet", policy="client-wins")
    assert (forced.status_code, forced.json()[mark]) == (200, "sooner")
