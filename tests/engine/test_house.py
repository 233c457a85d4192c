"""Who is here: one connection a client, and a goodbye to everybody at the end."""

import asyncio
from typing import Any, cast

import pytest

from syncserver.engine.house import House

ADA, BEN = ("user:ada", "phone"), ("user:ben", "phone")


def _unused(*_: Any) -> Any:
    raise AssertionError


@pytest.fixture
def house() -> House:
    """A house without doors: nobody here reads or writes."""
    nothing = cast("Any", None)
    return House(push=nothing, pull=nothing, hub=nothing, verify=_unused, verified=_unused, epoch=_unused, now=_unused)


class Guest:
    """A connection that remembers how it was asked to go."""

    def __init__(self) -> None:
        self.told: list[tuple[int, float | None]] = []
        self.asked = asyncio.Event()

    def goodbye(self, code: int, reason: str, retry_after_s: float | None = None) -> None:
        assert reason
        self.told.append((code, retry_after_s))
        self.asked.set()


def test_a_newer_connection_of_a_client_takes_the_place_of_the_older(house: House):
    older, newer = Guest(), Guest()
    house.entered(ADA, older.goodbye)
    house.entered(ADA, newer.goodbye)
    assert (older.told, newer.told, len(house)) == ([(4004, None)], [], 1)


def test_clients_of_other_readers_or_with_other_ids_stay(house: House):
    guests = [Guest() for _ in range(3)]
    for name, guest in zip([ADA, BEN, ("user:ada", "tablet")], guests, strict=True):
        house.entered(name, guest.goodbye)
    assert ([guest.told for guest in guests], len(house)) == ([[], [], []], 3)


def test_the_older_one_leaving_does_not_put_the_newer_out(house: House):
    older, newer, newest = Guest(), Guest(), Guest()
    house.entered(ADA, older.goodbye)
    house.entered(ADA, newer.goodbye)
    house.left(ADA, older.goodbye)
    assert len(house) == 1
    house.entered(ADA, newest.goodbye)
    assert newer.told == [(4004, None)]
    house.left(ADA, newest.goodbye)
    assert len(house) == 0


def test_leaving_twice_or_without_having_come_is_nothing(house: House):
    guest = Guest()
    house.left(ADA, guest.goodbye)
    house.entered(ADA, guest.goodbye)
    house.left(ADA, guest.goodbye)
    house.left(ADA, guest.goodbye)
    assert len(house) == 0


async def test_an_empty_house_is_drained_at_once(house: House):
    async with asyncio.timeout(20):
        await house.drain(within_s=1000, spread_s=10)


async def test_a_drain_says_goodbye_to_all_with_times_spread_and_waits_until_they_left(house: House):
    guests = [Guest() for _ in range(200)]
    for number, guest in enumerate(guests):
        house.entered(("user:ada", str(number)), guest.goodbye)
    draining = asyncio.create_task(house.drain(within_s=1000, spread_s=10))
    await guests[-1].asked.wait()
    times = [retry for guest in guests for _, retry in guest.told if retry is not None]
    assert [len(guest.told) for guest in guests] == [1] * 200
    assert {code for guest in guests for code, _ in guest.told} == {1012}
    assert 0.2 <= min(times) < 2
    assert 8 < max(times) <= 10.2
    assert len(set(times)) > 50
    for number, guest in enumerate(guests):
        assert not draining.done()
        house.left(("user:ada", str(number)), guest.goodbye)
    async with asyncio.timeout(20):
        await draining


async def test_a_drain_does_not_wait_for_ever(house: House):
    guest = Guest()
    house.entered(ADA, guest.goodbye)
    async with asyncio.timeout(20):
        await house.drain(within_s=0.01, spread_s=0)
    assert len(house) == 1


async def test_who_comes_during_a_drain_is_sent_on_at_once(house: House):
    late = Guest()
    await house.drain(within_s=0.01, spread_s=10)
    house.entered(ADA, late.goodbye)
    assert late.told == [(1012, 0.2)]
