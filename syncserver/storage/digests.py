"""Digests of what the log says an owner holds: one statement, one snapshot with the log's bounds.

The digest itself is defined in `core.digest`; here PostgreSQL computes it, so that no row has to travel for it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import digest
from syncserver.core.values import Digest
from syncserver.storage.changes import stamp_as_text


@dataclass(frozen=True, slots=True)
class Standing:
    """An owner's log at one moment: its bounds, and for each resource asked the digest of its live rows."""

    epoch: str
    head: int
    floor: int
    digests: Mapping[str, Digest]


# As `changes.since`, this goes by the entries alone: one that says `put` is delivered, and counts, whatever became
# of its row.
_DIGESTS = sa.text(f"""
    SELECT (SELECT id FROM epoch), coalesce(c.head, 0), coalesce(c.floor, 0), r.name, d.count, d.bits
    FROM (SELECT CAST(:owner AS text) AS owner) AS o
    LEFT JOIN channels c ON c.owner = o.owner
    LEFT JOIN unnest(CAST(:resources AS text[])) AS r (name) ON true
    LEFT JOIN LATERAL (
      SELECT count(*) AS count, coalesce(bit_xor(CAST(CAST('x' || encode(substring(sha256(convert_to(
               e.resource || chr(10) || e.key || chr(10) || e."offset" || chr(10)
               || {stamp_as_text("e.updated_at")},
               'UTF8')) FOR 8), 'hex') AS bit(64)) AS bigint)), 0) AS bits
      FROM changes e WHERE e.owner = o.owner AND e.resource = r.name AND e.op = 'put'
    ) AS d ON true
""")


async def of(connection: AsyncConnection, owner: str, resources: Collection[str]) -> Standing:
    """The digests of these resources, each once, with the bounds of the owner's log in the same snapshot.

    The transaction must have been begun for this owner; of any other, an empty log is what it sees.
    """
    found = await connection.execute(_DIGESTS, {"owner": owner, "resources": sorted(set(resources))})
    rows = [tuple(row) for row in found]
    epoch, head, floor = rows[0][:3]
    named = (row[3:] for row in rows if row[3] is not None)
    digests = {name: Digest(rows=count, xor=digest.digits(bits)) for name, count, bits in named}
    return Standing(epoch, head, floor, digests)
