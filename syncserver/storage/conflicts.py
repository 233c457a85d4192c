"""Every concurrent decision, with both versions: what the resolver chose between, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import clock
from syncserver.core.resolver import Version

_RECORD = sa.text("""
    INSERT INTO conflicts (owner, id, resource, key, policy, reason, winner, loser)
    SELECT owner, id, resource, key, policy, reason, winner, loser FROM jsonb_to_recordset(CAST(:conflicts AS jsonb))
      AS r (owner text, id uuid, resource text, key text, policy text, reason text, winner jsonb, loser jsonb)
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


async def record(connection: AsyncConnection, found: Sequence[Conflict]) -> None:
    """Keep these conflicts, in the transaction that decided them."""
    await connection.execute(_RECORD, {"conflicts": orjson.dumps([_row(c) for c in found]).decode()})


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
