"""A conflict is kept with both versions, in the transaction that decided it."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from syncserver.core.resolver import Version
from syncserver.storage import conflicts
from syncserver.storage.conflicts import Conflict
from syncserver.storage.database import Database

ADA = "user:ada"
EARLY, LATE = (datetime(2026, 3, 1, hour, 15, 0, 123456, UTC) for hour in (8, 9))


def conflict(owner: str = ADA, *, removed: bool = False) -> Conflict:
    winner = Version(None if removed else {"percentage": 0.5, "position": 'a "b" \\'}, LATE, "tablet", 7)
    loser = Version({"percentage": 0.25, "locator": {"href": "/naïve"}}, EARLY, "phone")
    return Conflict(str(uuid4()), owner, "progress", "moby", "last-write-wins", "updated_at", winner, loser)


async def test_a_conflict_is_kept_with_both_versions_and_the_reason(server: Database, sql):
    found = conflict()
    async with server.transaction([ADA]) as connection:
        await conflicts.record(connection, [found])
    rows = sql.execute("SELECT owner, id::text, resource, key, policy, reason, winner, loser FROM conflicts").fetchall()
    winner = {
        "fields": found.winner.fields,
        "updated_at": "2026-03-01T09:15:00.123456Z",
        "device_id": "tablet",
        "offset": 7,
    }
    loser = {
        "fields": found.loser.fields,
        "updated_at": "2026-03-01T08:15:00.123456Z",
        "device_id": "phone",
        "offset": None,
    }
    assert rows == [(ADA, found.id, "progress", "moby", "last-write-wins", "updated_at", winner, loser)]


async def test_a_removal_that_won_has_no_fields(server: Database, sql):
    async with server.transaction([ADA]) as connection:
        await conflicts.record(connection, [conflict(removed=True), conflict()])
    assert sql.execute("SELECT count(*) FROM conflicts WHERE winner -> 'fields' = 'null'").fetchone() == (1,)
    assert sql.execute("SELECT count(*) FROM conflicts").fetchone() == (2,)


async def test_a_conflict_is_not_kept_when_its_transaction_is_not(server: Database, sql):
    with pytest.raises(KeyError):  # noqa: PT012 - the transaction is what raises
        async with server.transaction([ADA]) as connection:
            await conflicts.record(connection, [conflict()])
            raise KeyError
    assert sql.execute("SELECT count(*) FROM conflicts").fetchone() == (0,)
