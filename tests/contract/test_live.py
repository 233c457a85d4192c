"""What another device hears of every resource, at once and in order."""

import pytest

from syncserver import resources
from tests.contract.owner import Owner, at, listening
from tests.resources import samples
from tests.transports.sockets import pushed

WRITTEN = pytest.mark.parametrize("resource", samples.written())
EVERY = pytest.mark.parametrize("resource", samples.every())


@WRITTEN
async def test_a_second_device_hears_each_write_in_order_whichever_door_it_came_through(ada: Owner, resource: str):
    mark = samples.marked(resource, "mark")
    async with listening(ada) as tablet:
        put = await ada.put(resource, "a", "first", device_id="phone", updated_at=at(1))
        heard = [await tablet.next(resource)]
        [patched] = await ada.push("phone", change := ada.mutation(resource, "patch", "a", "second", updated_at=at(2)))
        heard.append(await tablet.next(resource))
        async with ada.device("phone") as phone:
            await pushed(phone, ada.mutation(resource, "remove", "a", updated_at=at(3)))
            heard.append(await tablet.next(resource))
        assert heard[1]["mutation_id"] == change["mutation_id"]

    assert [(row["key"], row["op"], row["updated_at"]) for row in heard] == [
        (ada.key(resource, "a"), op, at(n)) for n, op in enumerate(("put", "put", "remove"), 1)
    ]
    assert [row["data"] and row["data"][mark] for row in heard] == ["first", "second", None]
    assert [row["offset"] for row in heard[:2]] == [put.json()["offset"], patched["offset"]]
    assert [row["offset"] for row in heard] == sorted({row["offset"] for row in heard})


@EVERY
async def test_what_is_written_by_sql_is_heard_and_read_over_http_alike(ada: Owner, by_sql, resource: str):
    found, key = resources.catalog()[resource], ada.key(resource, ada.name)
    async with listening(ada, resource) as tablet:
        samples.insert(by_sql, resource, ada.name, key, "mark", ada.session)
        put = await tablet.next(resource)
        assert [row for row in await ada.log(resource) if row["key"] == put["key"]] == [put]
        by_sql.execute(
            f"DELETE FROM {found.table.name} WHERE owner = %s AND {found.key} = %s".encode(),
            [ada.name, key],
        )
        gone = await tablet.next(resource)
    assert (put["key"], put["op"], put["data"][found.key]) == (key, "put", key)
    assert (gone["key"], gone["op"], gone["data"]) == (key, "remove", None)
    assert gone["offset"] > put["offset"]
