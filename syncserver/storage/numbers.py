"""The last numbers that were given to rows of a place, those that are gone among them."""

from collections.abc import Collection
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.storage.resource import Resource

Place = tuple[str, str, str]
"""Owner, resource, and the row of another kind in which they stand."""


@lru_cache
def _last(resource: Resource) -> sa.TextClause:
    place = resource.within.field if resource.within else ""
    return sa.text(f"""
        SELECT p.owner, p.place, greatest(
          (SELECT t.number FROM {resource.table.name} t WHERE t.owner = p.owner AND t.{place} = CAST(p.place AS uuid)
           ORDER BY t.number DESC LIMIT 1),
          (SELECT n.last FROM node_numbers n WHERE n.owner = p.owner AND n.{place} = CAST(p.place AS uuid)),
          0
        )
        FROM unnest(CAST(:owners AS text[]), CAST(:places AS text[])) AS p (owner, place)
    """)


async def last(connection: AsyncConnection, resource: Resource, places: Collection[Place]) -> dict[Place, int]:
    """The greatest number ever given in each of these places, 0 where there is none."""
    if not places:
        return {}
    ordered = sorted(places)
    arguments = {"owners": [owner for owner, _, _ in ordered], "places": [place for _, _, place in ordered]}
    found = await connection.execute(_last(resource), arguments)
    return {(owner, resource.name, place): number for owner, place, number in found}
