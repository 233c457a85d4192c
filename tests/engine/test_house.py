"""Who is here: one socket a client, and a goodbye to everybody at the end."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from syncserver.core.actor import Device
from syncserver.engine.decide import Sender
from syncserver.engine.house import Guest, House
from syncserver.engine.imports import Imports
from syncserver.engine.limits import Limits

ADA, BEN = "user:ada", "user:ben"


def _unused(*_: Any) -> Any:
    raise AssertionError


@pytest.fixture
def gone() -> list[Guest]:
    return []


@pytest.fixture
def house(gone: list[Guest]) -> House:
    """A house without doors: nobody here reads or writes."""
    unused = ("push", "whole", "exports", "hub", "tickets", "sessions", "claim", "verification", "statistics")
    arguments: dict[str, Any] = dict.fromkeys(unused)
    arguments["imports"] = Imports(cast("Any", None), cast("Any", None), cast("Any", None))
    arguments |= dict.fromkeys(("keys", "verified", "epoch", "now"), _unused)
    arguments["pull"] = SimpleNamespace(pages=_unused)
    return House(**arguments, gone=gone.append, limits=Limits(sockets_per_owner=0, streams_per_owner=0))


class Visitor:
    """A guest that remembers how it was asked to go."""

    def __init__(self, owner: str = ADA, client_id: str | None = "phone") -> None:
        self.told: list[tuple[int, float | None]] = []
        self.asked = asyncio.Event()
        sender = Sender(owner, Device("d"), client_id) if client_id is not None else None
        self.guest = Guest(owner, self.goodbye, cast("Any", _unused), sender)

    def goodbye(self, code: int, reason: str, retry_after_s: float | None = None) -> None:
        assert reason
        self.told.append((code, retry_after_s))
        self.asked.set()


def enter(house: House, *visitors: Visitor) -> None:
    for visitor in visitors:
        house.entered(visitor.guest)


def test_a_newer_socket_of_a_client_takes_the_place_of_the_older(house: House):
    older, newer = Visitor(), Visitor()
    enter(house, older, newer)
    assert (older.told, newer.told) == ([(4004, None)], [])


def test_clients_of_other_readers_or_with_other_ids_stay_and_so_do_streams(house: House):
    visitors = [Visitor(), Visitor(BEN), Visitor(client_id="tablet"), Visitor(client_id=None), Visitor(client_id=None)]
    enter(house, *visitors)
    assert [visitor.told for visitor in visitors] == [[]] * 5
    assert len(house) == 5
    assert len({visitor.guest.id for visitor in visitors}) == 5


def test_who_is_here_is_known_by_owner_until_they_leave(house: House, gone: list[Guest]):
    phone, stream, ben = Visitor(), Visitor(client_id=None), Visitor(BEN)
    enter(house, phone, stream, ben)
    assert house.of(ADA) == [phone.guest, stream.guest]
    house.left(phone.guest)
    assert (house.of(ADA), house.of(BEN)) == ([stream.guest], [ben.guest])
    house.left(stream.guest)
    assert house.of(ADA) == []
    assert gone == [phone.guest, stream.guest]


def test_the_older_one_leaving_does_not_put_the_newer_out(house: House):
    older, newer, newest = Visitor(), Visitor(), Visitor()
    enter(house, older, newer)
    house.left(older.guest)
    assert house.of(ADA) == [newer.guest]
    enter(house, newest)
    assert newer.told == [(4004, None)]
    house.left(newest.guest)
    house.left(newer.guest)
    assert len(house) == 0


def test_leaving_twice_or_without_having_come_is_nothing(house: House, gone: list[Guest]):
    visitor = Visitor()
    house.left(visitor.guest)
    enter(house, visitor)
    house.left(visitor.guest)
    house.left(visitor.guest)
    assert (len(house), gone) == (0, [visitor.guest])


async def test_an_empty_house_is_drained_at_once(house: House):
    async with asyncio.timeout(20):
        await house.drain(over_s=1000, within_s=1000)


async def test_a_few_are_told_at_once_with_differing_times_and_are_waited_for(house: House):
    visitors = [Visitor(client_id=str(number)) for number in range(60)] + [Visitor(client_id=None) for _ in range(40)]
    enter(house, *visitors)
    draining = asyncio.create_task(house.drain(over_s=1000, within_s=1000))
    await visitors[-1].asked.wait()
    times = [retry for visitor in visitors for _, retry in visitor.told if retry is not None]
    assert {code for visitor in visitors for code, _ in visitor.told} == {1012}
    assert len(times) == 100
    assert 0.2 <= min(times) < max(times) <= 1.2
    assert len(set(times)) > 20
    for visitor in visitors:
        assert not draining.done()
        house.left(visitor.guest)
    async with asyncio.timeout(20):
        await draining


async def test_many_are_told_in_waves_and_the_first_come_back_when_the_last_have_gone(house: House):
    visitors = [Visitor(client_id=str(number)) for number in range(250)]
    enter(house, *visitors)
    draining = asyncio.create_task(house.drain(over_s=20, within_s=0))
    await visitors[99].asked.wait()
    assert [visitor.asked.is_set() for visitor in visitors] == [True] * 100 + [False] * 150
    retries = [visitor.told[0][1] or 0 for visitor in visitors[:100]]
    assert 2.2 <= min(retries) < max(retries) <= 3.2  # two more waves, a second apart
    draining.cancel()
    await asyncio.gather(draining, return_exceptions=True)


async def test_the_last_wave_comes_within_the_time_given(house: House):
    visitors = [Visitor(client_id=str(number)) for number in range(250)]
    enter(house, *visitors)
    async with asyncio.timeout(20):
        await house.drain(over_s=0.05, within_s=0.01)
    assert [len(visitor.told) for visitor in visitors] == [1] * 250
    assert len(house) == 250  # and nobody is waited for without end


async def test_who_comes_during_a_drain_is_sent_on_at_once(house: House):
    late = Visitor()
    await house.drain(over_s=0, within_s=0.01)
    enter(house, late)
    assert late.told == [(1012, 0.2)]
