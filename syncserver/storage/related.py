"""What relates the rows of one place: by either end, or by both, in order of their keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.storage.changes import as_key, row_as_json
from syncserver.storage.resource import Resource
from syncserver.storage.rows import Listed


@dataclass(frozen=True, slots=True)
class Asked:
    """Which of a place: equal in the columns of `where`; with `either` (a key) at one end at least.

    At most `limit` past the key `place`, or the last before it; None: from that end.
    """

    limit: int
    where: Mapping[str, str] = field(default_factory=dict)
    either: str | None = None
    place: str | None = None
    backward: bool = False


async def listed(
    connection: AsyncConnection, resource: Resource, owner: str, home: str, asked: Asked
) -> Sequence[Listed]:
    """The rows of `owner` in the place `home` (of another kind), by key either way."""
    bounds = {"past": asked.place} if asked.place is not None else {}
    ends = {"either": asked.either} if asked.either is not None else {}
    statement = _listed(resource, tuple(asked.where), ends=bool(ends), resumed=bool(bounds), backward=asked.backward)
    arguments = {"owner": owner, "home": home, "count": asked.limit, "resource": resource.name}
    found = [
        Listed(*row) for row in await connection.execute(statement, {**arguments, **bounds, **ends, **asked.where})
    ]
    return found[::-1] if asked.backward else found


@lru_cache
def _listed(resource: Resource, where: tuple[str, ...], *, ends: bool, resumed: bool, backward: bool) -> sa.TextClause:
    """Every end has an index that goes on by key: of either, one walk along each, and no row twice."""
    key, place = resource.key, resource.within.field if resource.within else ""
    order = f"t.{key} {'DESC' if backward else 'ASC'}"
    equal = "".join(f' AND t."{name}" = :{name}' for name in where)
    keyset = f" AND t.{key} {'<' if backward else '>'} :past" if resumed else ""
    walks = [f" AND t.{belongs.home} = :either" for belongs in resource.belongs] if ends else [""]
    selected = " UNION ".join(
        f"""(SELECT t.{key} FROM {resource.table.name} t
             WHERE t.owner = :owner AND t.{place} = CAST(:home AS uuid){walk}{equal}{keyset}
             ORDER BY {order} LIMIT :count)"""
        for walk in walks
    )
    return sa.text(f"""
        SELECT t.{key}, {row_as_json(resource, "t")}, e."offset", t.updated_at
        FROM (SELECT t.{key} FROM ({selected}) t ORDER BY {order} LIMIT :count) k
        JOIN {resource.table.name} t ON t.owner = :owner AND t.{key} = k.{key}
        CROSS JOIN LATERAL (
          SELECT c."offset" FROM changes c
          WHERE c.owner = t.owner AND c.resource = :resource AND c.key = {as_key(f"t.{key}")} OFFSET 0
        ) e
        ORDER BY {order}
    """)
