"""Keys that were taken back before their end, and sessions that have ended: how an owner stands."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.storage import trip
from syncserver.storage.trip import Ask

CHANNEL = "syncserver_keys"
"""The notify channel: an owner whose standing is another than before."""

FOR_GOOD = datetime(9999, 12, 31, tzinfo=UTC)
"""The end of a revocation of tokens whose end nobody knows."""

_STANDING = sa.text("SELECT owner, state, token_ids, before FROM sync_standing_v1(CAST(:owners AS text[]))")
_REVOKE = sa.text("""
    INSERT INTO revocations AS r (owner, token_id, expires_at) VALUES (:owner, :token_id, :expires_at)
    ON CONFLICT (owner, token_id) DO UPDATE SET expires_at = greatest(r.expires_at, excluded.expires_at)
""")
_REVOKE_ALL = sa.text("""
    INSERT INTO revocations AS r (owner, token_id, before, expires_at)
    VALUES (:owner, '', clock_timestamp(), :expires_at)
    ON CONFLICT (owner, token_id) DO UPDATE SET before = greatest(r.before, excluded.before),
      expires_at = greatest(r.expires_at, excluded.expires_at)
""")
_LAPSE = sa.text("SELECT sync_lapse_v1(:count)")


@dataclass(frozen=True, slots=True)
class Standing:
    """Which keys of an owner hold: none of a session that is not `open`, and none that was revoked.

    `before`: none that was issued before this moment. A key that does not say when it was issued may have been.
    """

    state: Literal["open", "ended", "claimed"] = "open"
    token_ids: frozenset[str] = frozenset()
    before: datetime | None = None

    def revoked(self, token_id: str | None, issued_at: datetime | None) -> bool:
        """Whether a key of this id, issued then, was taken back."""
        if token_id in self.token_ids:
            return True
        return self.before is not None and (issued_at is None or issued_at < self.before)


def standings(owners: Collection[str]) -> Ask[dict[str, Standing]]:
    """How each of these owners stands, in any transaction."""
    return Ask(_STANDING, {"owners": trip.array(owners)}, _standings)


def _standings(rows: Sequence[Any]) -> dict[str, Standing]:
    return {owner: Standing(state, frozenset(token_ids), before) for owner, state, token_ids, before in rows}


async def revoke(connection: AsyncConnection, owner: str, token_id: str, expires_at: datetime = FOR_GOOD) -> None:
    """Take back this token of the owner; that is forgotten after `expires_at`, when it would have ended by itself."""
    await connection.execute(_REVOKE, {"owner": owner, "token_id": token_id, "expires_at": expires_at})


async def revoke_all(connection: AsyncConnection, owner: str) -> None:
    """Take back every token of the owner that was issued until now."""
    await connection.execute(_REVOKE_ALL, {"owner": owner, "expires_at": FOR_GOOD})


async def lapse(connection: AsyncConnection, limit: int) -> int:
    """Forget at most `limit` revocations of tokens that have ended; how many."""
    return int((await connection.execute(_LAPSE, {"count": limit})).scalar_one())
