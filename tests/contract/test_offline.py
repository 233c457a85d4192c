"""What was written without a network: every resource takes it in once, however often and whichever way it comes."""

import pytest

from syncserver import resources
from tests.contract.owner import Fields, Owner, at, listening
from tests.resources import samples
from tests.transports.sockets import pushed

WRITTEN = pytest.mark.parametrize("resource", samples.written())


def written_offline(ada: Owner, resource: str) -> list[Fields]:
    """An hour on a train: two rows, one of which is changed, and one that comes and goes."""
    return [
        ada.mutation(resource, "put", "a", "begun", updated_at=at(1)),
        ada.mutation(resource, "put", "b", "alone", updated_at=at(2)),
        ada.mutation(resource, "patch", "a", "gone on", updated_at=at(3)),
        ada.mutation(resource, "put", "c", "brief", updated_at=at(4)),
        ada.mutation(resource, "remove", "c", updated_at=at(5)),
    ]


@WRITTEN
@pytest.mark.parametrize("way", ["http", "socket"])
async def test_a_batch_arrives_once_and_is_safe_to_send_again(ada: Owner, resource: str, way: str):
    found, mark = resources.catalog()[resource], samples.marked(resource, "mark")
    batch = written_offline(ada, resource)

    async def sent() -> list[Fields]:
        if way == "http":
            return await ada.push("phone", *batch)
        async with ada.device("phone") as phone:
            return await pushed(phone, *batch)

    first = await sent()
    assert {ack["status"] for ack in first} == {"applied"}, first
    log = await ada.log()
    again = await sent()
    assert [ack["status"] for ack in again] == ["duplicate"] * len(batch)
    assert [ack["offset"] for ack in again] == [ack["offset"] for ack in first]
    assert await ada.log() == log
    held = {row["key"]: row["data"] and row["data"][mark] for row in log if row["resource"] == resource}
    assert held == {ada.key(resource, name): what for name, what in zip("abc", ("gone on", "alone", None), strict=True)}
    assert len({row["offset"] for row in log}) == len(log)
    assert {row[found.key] for row in await ada.rows(resource)} == {key for key, what in held.items() if what}


@WRITTEN
async def test_what_is_older_than_what_came_meanwhile_loses_and_the_rest_arrives(ada: Owner, resource: str):
    mark = samples.marked(resource, "mark")
    assert (await ada.put(resource, "a", "newer", updated_at=at(60), device_id="tablet")).status_code == 200
    async with listening(ada, resource) as tablet:
        acks = await ada.push("phone", *written_offline(ada, resource))
        assert [ack["status"] for ack in acks] == ["superseded", "applied", "superseded", "applied", "applied"]
        assert [ack["row"]["data"][mark] for ack in acks if "row" in ack] == ["newer"] * 2
        assert (await tablet.until(resource, ada.key(resource, "b")))["data"][mark] == "alone"
    assert (await ada.http.get(ada.route(resource, "a"))).json()[mark] == "newer"
    assert (await ada.http.get(ada.route(resource, "b"))).json()[mark] == "alone"


@WRITTEN
async def test_a_removal_keeps_an_older_edit_from_bringing_the_row_back(ada: Owner, resource: str):
    await ada.put(resource, "a", "first", updated_at=at(1), device_id="tablet")
    await ada.http.delete(ada.route(resource, "a"), params={"updated_at": at(60), "device_id": "tablet"})
    late, newer = (ada.mutation(resource, "put", "a", f"at {n}", updated_at=at(n)) for n in (30, 90))
    [ack] = await ada.push("phone", late)
    assert (ack["status"], ack["row"]["op"], ack["row"]["data"]) == ("superseded", "remove", None)
    [ack] = await ada.push("phone", newer)
    assert ack["status"] == "applied"
    assert (await ada.http.get(ada.route(resource, "a"))).json()[samples.marked(resource, "mark")] == "at 90"
