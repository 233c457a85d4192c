"""Rows that belong to another, in their order among them: a page before or after a place."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.storage.changes import as_key, row_as_json, type_of
from syncserver.storage.resource import Resource
from syncserver.storage.rows import Listed


@dataclass(frozen=True, slots=True)
class Span:
    """At most `limit` rows after a place, or the last before one; None: from that end.

    A place is what the rows are ordered by, and a key. `backward`: the last before `place`, not the first after it.
    """

    limit: int
    place: tuple[datetime | str | int, str] | None = None
    backward: bool = False


async def listed(
    connection: AsyncConnection, resource: Resource, owner: str, home: str, span: Span
) -> Sequence[Listed]:
    """The rows of `owner` that belong to the row `home`, in their order either way; equals in it go by key."""
    statement = _listed(resource, resumed=span.place is not None, backward=span.backward)
    bounds = {"at": span.place[0], "past": span.place[1]} if span.place else {}
    arguments = {"owner": owner, "home": home, "count": span.limit, "resource": resource.name, **bounds}
    found = [Listed(*row) for row in await connection.execute(statement, arguments)]
    return found[::-1] if span.backward else found


@lru_cache
def _listed(resource: Resource, *, resumed: bool, backward: bool) -> sa.TextClause:
    """One index has owner, home, order and key, in this order: a page is a walk along it, wherever it begins."""
    belongs = resource.belongs[0]
    key, order, home = resource.key, belongs.order, belongs.home
    kinds = {name: type_of(resource.table.c[name]) for name in (key, order, home)}
    direction, past = ("DESC", "<") if backward else ("ASC", ">")
    bounds = f"(CAST(:at AS {kinds[order]}), CAST(:past AS {kinds[key]}))"
    keyset = f" AND (t.{order}, t.{key}) {past} {bounds}" if resumed else ""
    return sa.text(f"""
        SELECT t.{key}::text, {row_as_json(resource, "t")}, e."offset", t.updated_at
        FROM (
          SELECT * FROM {resource.table.name} t
          WHERE t.owner = :owner AND t.{home} = CAST(:home AS {kinds[home]}){keyset}
          ORDER BY t.{order} {direction}, t.{key} {direction} LIMIT :count
        ) t
        CROSS JOIN LATERAL (
          SELECT c."offset" FROM changes c
          WHERE c.owner = t.owner AND c.resource = :resource AND c.key = {as_key(f"t.{key}")} OFFSET 0
        ) e
        ORDER BY t.{order} {direction}, t.{key} {direction}
    """)
