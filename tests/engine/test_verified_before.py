"""Tokens that were verified before: let in without a look at their signature, and never when they should not be."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from syncserver.core.actor import Actor
from syncserver.core.errors import Unauthorised
from syncserver.engine import tokens, trust
from syncserver.engine.keys import Keys
from syncserver.engine.tickets import Tickets
from syncserver.engine.tokens import Rules, Verifier
from syncserver.engine.trust import TrustedKey
from syncserver.storage import revocations
from syncserver.storage.database import Database
from tests.engine.test_tokens import HOUR, NOW, SECRET, claims, signed

OTHER = b"another secret for tests, as long as the first one of them is"
ADA = "user:ada"


class Ring:
    """Keys that the test changes, and how often they were asked for."""

    def __init__(self) -> None:
        self.edition = 0
        self.asked = 0
        self.secret = SECRET

    async def keys(self, algorithm: str, kid: str | None) -> list[TrustedKey]:  # noqa: ARG002 - see Trust
        self.asked += 1
        return [trust.of_secret(self.secret)]


@pytest.fixture
def ring() -> Ring:
    return Ring()


def verifier(ring: Ring, **more: Any) -> Verifier:
    return Verifier(ring, ring, Rules(leeway_s=30), **more)


def minted(name: str = "ada") -> str:
    return tokens.mint(SECRET, name, NOW, HOUR)


async def test_a_token_is_verified_once(ring: Ring):
    verify, token = verifier(ring), minted()
    assert verify.known(token) is None
    actor = await verify(token)
    assert (actor.owner, ring.asked) == (ADA, 1)
    for _ in range(3):
        assert verify.known(token) == await verify(token) == actor
    assert ring.asked == 1


async def test_what_was_not_let_in_is_not_remembered(ring: Ring):
    verify = verifier(ring)
    for token in (tokens.mint(OTHER, "ada", NOW, HOUR), tokens.mint(SECRET, "ada", NOW - 2 * HOUR, HOUR), "\ud800.a.b"):
        for _ in range(2):
            with pytest.raises(Unauthorised):
                await verify(token)
            assert verify.known(token) is None
    assert len(verify) == 0


async def test_a_token_that_is_like_a_known_one_is_not_known(ring: Ring):
    verify, token = verifier(ring), minted()
    await verify(token)
    for other in (token[:-1], token + "=", token.upper(), f" {token}", minted("eve")):
        assert verify.known(other) is None


@pytest.mark.parametrize("early", ["nbf", "iat"])
async def test_its_times_are_looked_at_each_time(ring: Ring, early: str):
    now = [0.0]
    verify = verifier(ring, clock=lambda: now[0])
    begins, ends = int(NOW.timestamp()) - 100, int((NOW + HOUR).timestamp())
    token = signed(claims(**{"iat": None, early: begins, "exp": ends}))
    await verify(token)
    for now[0], holds in ((begins - 31, False), (begins - 30, True), (ends + 29.9, True), (ends + 30, False)):
        assert (verify.known(token) is not None) is holds


async def test_one_that_has_ended_meanwhile_says_so(ring: Ring):
    late = [NOW.timestamp()]
    verify = verifier(ring, clock=lambda: late[0])
    ended = datetime.now(UTC) - timedelta(seconds=29)
    token = tokens.mint(SECRET, "ada", ended - HOUR, HOUR)
    await verify(token)
    verify._rules = Rules(leeway_s=0)  # as if it had been a moment ago
    late[0] += 3600
    with pytest.raises(Unauthorised, match="expired"):
        await verify(token)


async def test_a_key_that_is_not_believed_any_more_opens_nothing_by_what_it_opened_before(ring: Ring):
    verify, token = verifier(ring), minted()
    await verify(token)
    ring.secret, ring.edition = OTHER, 1
    assert verify.known(token) is None
    with pytest.raises(Unauthorised):
        await verify(token)
    await verify(tokens.mint(OTHER, "ada", NOW, HOUR))


async def test_no_more_are_remembered_than_it_says(ring: Ring):
    verify = verifier(ring, most=3)
    shown = [minted(f"reader {number}") for number in range(5)]
    for token in shown:
        await verify(token)
    assert [verify.known(token) is not None for token in shown] == [False, False, True, True, True]
    assert len(verify) == 3


async def test_nothing_that_is_remembered_is_a_token(ring: Ring):
    verify, token = verifier(ring), minted()
    await verify(token)
    assert token.split(".")[2] not in repr(verify._good)


# -- with how its owner stands ------------------------------------------------


@pytest.fixture
def keys(server: Database) -> Keys:
    return Keys(tokens.verifier(SECRET), Tickets(server), server)


async def test_a_key_is_known_when_it_was_let_in_and_nobody_has_taken_it_back(server: Database, keys: Keys):
    token = minted()
    assert keys.known(token) is None
    actor = await keys.by_token(token)
    assert keys.known(token) == actor
    keys.ring(ADA)
    assert keys.known(token) is None, "its doorbell rang: nobody knows"
    await keys.by_token(token)
    assert keys.known(token) == actor
    await taken_back(server, actor)
    keys.ring(ADA)
    for _ in range(2):
        with pytest.raises(Unauthorised, match="taken back"):
            await keys.by_token(token)
        assert keys.known(token) is None


async def test_while_doorbells_may_have_been_missed_no_key_is_known(keys: Keys):
    token = minted()
    await keys.by_token(token)
    keys.listening()
    assert keys.known(token) is None


async def test_to_know_a_key_takes_no_statement(keys: Keys, sql: psycopg.Connection):
    token = minted()
    await keys.by_token(token)
    with sql.transaction():
        sql.execute("LOCK TABLE revocations, sessions IN ACCESS EXCLUSIVE MODE")
        assert keys.known(token) is not None


async def taken_back(server: Database, actor: Actor) -> None:
    async with server.transaction([actor.owner]) as connection:
        await revocations.revoke(connection, actor.owner, actor.token_id or "")
