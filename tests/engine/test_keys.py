"""Which keys hold: by token and by ticket, before and after they were taken back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from syncserver.core.actor import Actor, session_owner
from syncserver.core.errors import Claimed, Forbidden, Invalid, SyncError, Unauthorised
from syncserver.engine import tokens
from syncserver.engine.keys import Keys
from syncserver.engine.tickets import Tickets
from syncserver.storage import revocations
from syncserver.storage.database import Database
from tests.harness import SECRET

NOW = datetime.now(UTC).replace(microsecond=0)
ADA = Actor("user:ada", NOW + timedelta(hours=1), "t1", NOW)


class Visit:
    """A guest that remembers why it was sent away."""

    def __init__(self, actor: Actor | None) -> None:
        self.owner = actor.owner if actor is not None else "user:ada"
        self.actor = actor
        self.told: list[SyncError] = []

    def dismiss(self, error: Unauthorised) -> None:
        self.told.append(error)


@pytest.fixture
def keys(server: Database) -> Keys:
    return Keys(tokens.verifier(SECRET), Tickets(server), server)


async def taken_back(server: Database, keys: Keys, token_id: str | None) -> None:
    async with server.transaction(["user:ada"]) as connection:
        if token_id is None:
            await revocations.revoke_all(connection, "user:ada")
        else:
            await revocations.revoke(connection, "user:ada", token_id)
    keys.ring("user:ada")


async def test_a_key_holds_until_it_is_taken_back(server: Database, keys: Keys):
    token = tokens.mint(SECRET, "ada", NOW, timedelta(hours=1), token_id="t1")
    ticket = await Tickets(server).issue(ADA)
    assert await keys.by_token(token) == ADA
    assert await keys.by_ticket(await Tickets(server).issue(ADA)) == ADA
    await taken_back(server, keys, "t1")
    for shown in (keys.by_token(token), keys.by_ticket(ticket), keys.hold(ADA)):
        with pytest.raises(Unauthorised, match="taken back"):
            await shown
    await keys.hold(replace(ADA, token_id="t2"))
    await keys.hold(replace(ADA, token_id=None))
    await keys.hold(replace(ADA, owner="user:eve"))
    assert await keys.read(token) == ADA  # what it says, it goes on saying


async def test_all_keys_that_were_issued_until_now_or_do_not_say_when_can_be_taken_back(server: Database, keys: Keys):
    await taken_back(server, keys, None)
    for issued_at in (NOW - timedelta(days=300), NOW - timedelta(seconds=1), None):
        with pytest.raises(Unauthorised):
            await keys.hold(replace(ADA, issued_at=issued_at))
    await keys.hold(replace(ADA, issued_at=datetime.now(UTC) + timedelta(seconds=1)))
    await keys.hold(replace(ADA, owner="user:eve"))


async def test_taking_all_back_again_reaches_further_and_never_less_far(server: Database, keys: Keys):
    await taken_back(server, keys, None)
    between = datetime.now(UTC)
    await taken_back(server, keys, None)
    with pytest.raises(Unauthorised):
        await keys.hold(replace(ADA, issued_at=between))


async def test_a_key_of_a_session_holds_until_that_ends(keys: Keys, sql: psycopg.Connection):
    session_id = uuid4()
    owner = session_owner(session_id)
    token = tokens.mint_session(SECRET, session_id, NOW)
    with pytest.raises(Unauthorised, match="ended"):
        await keys.by_token(token)
    sql.execute("INSERT INTO sessions (owner, id, updated_at) VALUES (%s, %s, now())", [owner, session_id])
    keys.ring(owner)
    actor = await keys.by_token(token)
    assert actor.owner == owner
    sql.execute("UPDATE sessions SET owner = 'user:ada' WHERE id = %s", [session_id])
    keys.ring(owner)
    with pytest.raises(Claimed):
        await keys.by_token(token)


async def test_one_takes_back_one_s_own_token(keys: Keys):
    await keys.revoke(ADA)
    with pytest.raises(Unauthorised):
        await keys.hold(ADA)
    with pytest.raises(Invalid, match="jti"):
        await keys.revoke(replace(ADA, token_id=None))
    with pytest.raises(Forbidden, match="sessions"):
        await keys.revoke(replace(ADA, owner=session_owner(uuid4())))


async def test_a_guest_whose_key_is_known_not_to_hold_does_not_stay(server: Database, keys: Keys):
    await taken_back(server, keys, "t1")
    await keys.hold(replace(ADA, token_id="t2"))
    first, second, keyless = Visit(ADA), Visit(replace(ADA, token_id="t2")), Visit(None)
    for guest in (first, second, keyless):
        keys.shown(guest)
    assert [len(guest.told) for guest in (first, second, keyless)] == [1, 0, 0]
