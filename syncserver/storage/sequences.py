"""Rows that belong to another and have a rank there: the whole sequence, and a stamp by which it is known again."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.storage.changes import as_key
from syncserver.storage.resource import Resource


@dataclass(frozen=True, slots=True)
class Place:
    """Where one row stands: in the sequence by its rank, in the log by its offset."""

    key: str
    rank: str
    offset: int


@dataclass(frozen=True, slots=True)
class Known:
    """By what a sequence is known again: whatever becomes of it, it is never the same once more.

    A row that is new or was changed stands at the end of the log, so the greatest offset rises; else rows have gone.
    """

    newest: int
    count: int

    def __str__(self) -> str:
        return f"{self.newest}-{self.count}"


def known(places: Sequence[Place]) -> Known:
    """By what these are known again."""
    return Known(max((place.offset for place in places), default=0), len(places))


@lru_cache
def _places(resource: Resource) -> sa.TextClause:
    home = resource.belongs[0].home
    return sa.text(f"""
        SELECT t.{resource.key}, t.rank, e."offset" FROM {resource.table.name} t
        CROSS JOIN LATERAL (
          SELECT c."offset" FROM changes c
          WHERE c.owner = t.owner AND c.resource = :resource AND c.key = {as_key(f"t.{resource.key}")} OFFSET 0
        ) e
        WHERE t.owner = :owner AND t.{home} = :home ORDER BY t.rank, t.{resource.key}
    """)


async def places(connection: AsyncConnection, resource: Resource, owner: str, home: str) -> list[Place]:
    """The whole sequence of the row `home`, in order."""
    arguments = {"owner": owner, "home": home, "resource": resource.name}
    return [Place(*row) for row in await connection.execute(_places(resource), arguments)]
