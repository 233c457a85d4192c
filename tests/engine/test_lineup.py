"""Who waits for a batch: turns by owner, and no owner in two batches at once."""

import asyncio
from typing import Any

from syncserver.core.actor import Device
from syncserver.engine.aside import Pushed, Waiting
from syncserver.engine.decide import Sender, read
from syncserver.engine.lineup import Lineup
from tests.engine.conftest import NOW
from tests.engine.test_a_busy_owner import put

ADA, BEN = "user:ada", "user:ben"


async def waiting(catalog: Any, owner: str, key: str, client: str = "c") -> Waiting:
    item = read(Sender(owner, Device("phone", None), client), put(key), catalog, NOW)
    return Waiting(item, Pushed([None], 1, asyncio.get_running_loop().create_future()), 0)


def keys(found: list[Waiting]) -> list[tuple[str, str]]:
    return [(one.item.sender.owner, one.item.key) for one in found if hasattr(one.item, "key")]


async def test_an_owner_is_never_taken_twice_and_keeps_its_order(catalog):
    line = Lineup()
    line.add([await waiting(catalog, ADA, "a"), await waiting(catalog, ADA, "b"), await waiting(catalog, BEN, "x")])
    first = line.taken(1)
    assert keys(first) == [(ADA, "a")]
    line.add([await waiting(catalog, ADA, "c")])
    other = line.taken(200)
    assert keys(other) == [(BEN, "x")]
    assert (line.ready, len(line)) == (False, 2)
    line.back(other)
    assert not line.ready, "the other batch brings nobody back but its own owners"
    line.back(first)
    assert keys(line.taken(200)) == [(ADA, "b"), (ADA, "c")]


async def test_an_owner_with_much_to_do_takes_turns(catalog):
    line = Lineup()
    line.add([await waiting(catalog, ADA, key) for key in "abcd"])
    line.add([await waiting(catalog, BEN, "x")])
    first = line.taken(2)
    line.back(first)
    assert keys(first) == [(ADA, "a"), (ADA, "b")]
    assert keys(line.taken(2)) == [(BEN, "x"), (ADA, "c")]


async def test_one_client_s_may_go_and_the_rest_stays_in_order(catalog):
    line = Lineup()
    line.add([await waiting(catalog, ADA, key, client) for key, client in (("a", "p"), ("b", "t"), ("c", "p"))])
    gone = line.without(ADA, lambda one: one.item.sender.client_id == "p")
    assert keys(gone) == [(ADA, "a"), (ADA, "c")]
    assert keys(line.taken(9)) == [(ADA, "b")]
    assert line.without(ADA) == []


async def test_all_of_it_goes_at_the_end(catalog):
    line = Lineup()
    line.add([await waiting(catalog, ADA, "a"), await waiting(catalog, BEN, "x")])
    assert len(line.all()) == 2
    assert (line.ready, len(line), line.taken(9)) == (False, 0, [])
