"""How long a socket may stay: tickets in hello, fresh tokens, the warning, the end; and the clock's drift."""

import logging
from datetime import timedelta

import pytest

from syncserver.app import wiring
from syncserver.core import clock
from tests.harness import Live, token
from tests.transports.sockets import HELLO, greeted, raw


async def test_a_ticket_opens_one_socket(live: Live):
    actor = await live.parts.house.keys.by_token(token("ada"))
    ticket = await live.parts.house.tickets.issue(actor)
    async with raw(live) as socket:
        await socket.say({**HELLO, "ticket": ticket})
        welcome = await socket.hear()
        assert welcome["type"] == "welcome"
        assert clock.read(welcome["token_expires_at"]) == actor.expires_at
    async with raw(live) as socket:
        await socket.say({**HELLO, "ticket": ticket})
        assert (await socket.hear())["code"] == "unauthorised"
        assert await socket.closed() == 4501


@pytest.mark.parametrize(
    ("keys", "code", "close"),
    [
        ({"ticket": "x", "token": "y"}, "malformed", 4500),
        ({}, "unauthorised", 4501),
        ({"token": ""}, "unauthorised", 4501),
    ],
)
async def test_it_is_a_token_or_a_ticket(live: Live, keys: dict[str, str], code: str, close: int):
    async with raw(live) as socket:
        await socket.say({**HELLO, **keys})
        assert (await socket.hear())["code"] == code
        assert await socket.closed() == close


async def test_a_socket_is_warned_and_then_closed_with_the_end_of_its_token(live: Live):
    async with greeted(live, token=token("ada", timedelta(seconds=2))) as socket:
        expiring = await socket.hear()
        assert expiring["type"] == "token_expiring"
        assert 0 < expiring["in_s"] <= 2
        assert await socket.closed() == 4001


async def test_a_fresh_token_prolongs_the_stay(live: Live):
    async with greeted(live, token=token("ada", timedelta(seconds=2))) as socket:
        await socket.hear_until("token_expiring")
        await socket.say({"type": "auth", "token": token("ada", timedelta(seconds=3))})
        again = await socket.hear_until("token_expiring")
        assert 1.5 < again["in_s"] <= 3
        await socket.say({"type": "auth", "token": token("ada")})
        await socket.say({"type": "ping"})
        assert (await socket.hear())["type"] == "pong"  # silence means that it is good
        [guest] = live.parts.house.of("user:ada")
        assert guest.sender is not None


async def test_a_token_with_more_than_a_minute_left_brings_no_warning(live: Live):
    async with greeted(live, token=token("ada", timedelta(seconds=90))) as socket:
        await socket.say({"type": "ping"})
        assert (await socket.hear())["type"] == "pong"


@pytest.mark.parametrize("fresh", ["none", token("eve"), token("ada", timedelta(seconds=-60))])
async def test_another_reader_s_token_or_a_bad_one_closes_with_4501(live: Live, fresh: str):
    async with greeted(live) as socket:
        await socket.say({"type": "auth", "token": fresh})
        assert (await socket.hear())["code"] == "unauthorised"
        assert await socket.closed() == 4501


async def test_a_clock_that_is_far_off_is_told_and_logged_once_without_a_name(
    live: Live, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, "syncserver"):
        for ahead_s in (-290, 290, 400, -4000):
            sent_at = clock.write(wiring.now() + timedelta(seconds=ahead_s))
            async with raw(live) as socket:
                await socket.say({**HELLO, "token": token("ada"), "sent_at": sent_at})
                drift_s = (await socket.hear()).get("drift_s")
            assert (drift_s is None) is (abs(ahead_s) < 300)
            assert drift_s is None or abs(drift_s - ahead_s) < 30
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert not any(word in line for line in told for word in ("ada", "phone", "c1"))
