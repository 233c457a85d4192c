"""Rows that belong to another, oldest first: a page before or after a place among them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.storage.changes import row_as_json
from syncserver.storage.resource import Resource
from syncserver.storage.rows import Listed


@dataclass(frozen=True, slots=True)
class Span:
    """At most `limit` rows after a place (its moment and key), or the last before one; None: from that end.

    `backward`: they are the last before `place`, not the first after it.
    """

    limit: int
    place: tuple[datetime, str] | None = None
    backward: bool = False


async def listed(
    connection: AsyncConnection, resource: Resource, owner: str, home: str, span: Span
) -> Sequence[Listed]:
    """The rows of `owner` that belong to the row `home`, oldest first either way; equal moments go by key."""
    statement = _listed(resource, resumed=span.place is not None, backward=span.backward)
    bounds = {"at": span.place[0], "past": span.place[1]} if span.place else {}
    arguments = {"owner": owner, "home": home, "count": span.limit, "resource": resource.name, **bounds}
    found = [Listed(*row) for row in await connection.execute(statement, arguments)]
    return found[::-1] if span.backward else found


@lru_cache
def _listed(resource: Resource, *, resumed: bool, backward: bool) -> sa.TextClause:
    """One index has owner, home, moment and key, in this order: a page is a walk along it, wherever it begins."""
    if resource.belongs is None:
        raise ValueError(resource.name)
    key, moment, home = resource.key, resource.belongs.order, resource.belongs.field
    direction, past = ("DESC", "<") if backward else ("ASC", ">")
    keyset = f" AND (t.{moment}, t.{key}) {past} (CAST(:at AS timestamptz), CAST(:past AS uuid))" if resumed else ""
    return sa.text(f"""
        SELECT t.{key}::text, {row_as_json(resource, "t")}, e."offset", t.updated_at
        FROM (
          SELECT * FROM {resource.table.name} t
          WHERE t.owner = :owner AND t.{home} = CAST(:home AS uuid){keyset}
          ORDER BY t.{moment} {direction}, t.{key} {direction} LIMIT :count
        ) t
        CROSS JOIN LATERAL (
          SELECT c."offset" FROM changes c
          WHERE c.owner = t.owner AND c.resource = :resource AND c.key = t.{key}::text OFFSET 0
        ) e
        ORDER BY t.{moment} {direction}, t.{key} {direction}
    """)
