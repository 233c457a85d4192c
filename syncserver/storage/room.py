"""How much an owner has: read only to see whether there is room for more."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

_ROWS = sa.text("""
    SELECT o.owner,
           (SELECT count(*) FROM
               (SELECT FROM changes c WHERE c.owner = o.owner AND c.op = 'put' LIMIT :most) AS present) AS rows
    FROM unnest(CAST(:owners AS text[])) AS o (owner)
""")


async def rows(connection: AsyncConnection, owners: Sequence[str], most: int) -> dict[str, int]:
    """How many rows each owner has, of every resource together; counted no further than `most`."""
    found = await connection.execute(_ROWS, {"owners": list(owners), "most": most})
    return {row.owner: row.rows for row in found}
