"""Every concurrent decision, with both versions: what the resolver chose between, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import clock
from syncserver.core.resolver import Version
from syncserver.storage import trip
from syncserver.storage.trip import Ask

_RECORD = sa.text("""
    INSERT INTO conflicts (owner, id, resource, key, policy, reason, winner, loser)
    SELECT owner, id, resource, key, policy, reason, winner, loser FROM jsonb_to_recordset(CAST(:conflicts AS jsonb))
      AS r (owner text, id uuid, resource text, key text, policy text, reason text, winner jsonb, loser jsonb)
    RETURNING created_at
""")


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two versions of one row that did not know each other, and the decision."""

    id: str
    owner: str
    resource: str
    key: str
    policy: str
    reason: str
    winner: Version
    loser: Version


@dataclass(frozen=True, slots=True)
class Kept:
    """A conflict as it is kept; `winner` and `loser` are versions as JSON values."""

    id: str
    resource: str
    key: str
    policy: str
    reason: str
    winner: dict[str, Any]
    loser: dict[str, Any]
    created_at: datetime
    restored_at: datetime | None


@dataclass(frozen=True, slots=True)
class Listing:
    """Which conflicts: of this resource and row (None: of all), past the place `after` (moment and id)."""

    resource: str | None = None
    key: str | None = None
    after: tuple[datetime, str] | None = None
    limit: int = 100


_COLUMNS = "id::text, resource, key, policy, reason, winner::text, loser::text, created_at, restored_at"
_LIST = sa.text(f"""
    SELECT {_COLUMNS} FROM conflicts
    WHERE owner = :owner
      AND (CAST(:resource AS text) IS NULL OR resource = :resource) AND (CAST(:key AS text) IS NULL OR key = :key)
      AND (CAST(:at AS timestamptz) IS NULL OR (created_at, id) < (:at, CAST(:past AS uuid)))
    ORDER BY created_at DESC, id DESC LIMIT :count
""")
_ONE = sa.text(f"SELECT {_COLUMNS} FROM conflicts WHERE owner = :owner AND id = CAST(:id AS uuid)")
_RESTORED = sa.text("UPDATE conflicts SET restored_at = now() WHERE owner = :owner AND id = CAST(:id AS uuid)")


async def listed(connection: AsyncConnection, owner: str, listing: Listing) -> list[Kept]:
    """The owner's conflicts, newest first."""
    at, past = listing.after or (None, None)
    arguments = {
        "owner": owner,
        "resource": listing.resource,
        "key": listing.key,
        "at": at,
        "past": past,
        "count": listing.limit,
    }
    return [_kept(row) for row in await connection.execute(_LIST, arguments)]


async def one(connection: AsyncConnection, owner: str, conflict_id: str) -> Kept | None:
    """The conflict, or None."""
    row = (await connection.execute(_ONE, {"owner": owner, "id": conflict_id})).one_or_none()
    return _kept(row) if row else None


async def restored(connection: AsyncConnection, owner: str, conflict_id: str) -> None:
    """Note that the losing version was written again."""
    await connection.execute(_RESTORED, {"owner": owner, "id": conflict_id})


def _kept(row: sa.Row[Any]) -> Kept:
    names: list[Any] = list(row)
    names[5:7] = map(orjson.loads, names[5:7])
    return Kept(*names)


async def record(connection: AsyncConnection, found: Sequence[Conflict]) -> datetime:
    """Keep these conflicts, in the transaction that decided them; when that was."""
    kept = {"conflicts": orjson.dumps([_row(c) for c in found]).decode()}
    return await trip.one(connection, Ask(_RECORD, kept, _decided_at))


def _decided_at(rows: Sequence[Any]) -> datetime:
    decided_at: datetime = rows[0][0]
    return decided_at


def _row(conflict: Conflict) -> dict[str, Any]:
    return {
        "owner": conflict.owner,
        "id": conflict.id,
        "resource": conflict.resource,
        "key": conflict.key,
        "policy": conflict.policy,
        "reason": conflict.reason,
        "winner": _version(conflict.winner),
        "loser": _version(conflict.loser),
    }


def _version(version: Version) -> dict[str, Any]:
    return {
        "fields": version.fields,
        "updated_at": clock.write(version.updated_at),
        "device_id": version.device_id,
        "offset": version.offset,
    }
