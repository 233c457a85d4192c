"""What has to be so in an owner's workspaces, whoever wrote them: keys, ranks, numbers, and imports that are alive.

General over resources that stand within another (`Resource.within`) or in a sequence (a column `rank`).
"""

from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import rank, within
from syncserver.storage import imports
from syncserver.storage.diagnosis import Fault, Finding
from syncserver.storage.resource import Catalog, Resource

_RANK = "^[0-9A-Za-z]*[1-9A-Za-z]$"
_PLACE = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

_IMPORTS = sa.text("""
    SELECT CAST(id AS text), session_id, seen_at FROM imports
    WHERE owner = :owner AND state = 'running' AND seen_at < clock_timestamp() - make_interval(secs => :silent)
    ORDER BY created_at, id
""")
_END_IMPORTS = sa.text("""
    UPDATE imports SET state = 'failed'
    WHERE owner = :owner AND state = 'running' AND seen_at < clock_timestamp() - make_interval(secs => :silent)
""")
_REMEMBER = sa.text("""
    INSERT INTO node_numbers AS n (owner, session_id, last) VALUES (:owner, :place, :last)
    ON CONFLICT (owner, session_id) DO UPDATE SET last = greatest(n.last, excluded.last)
""")


async def of(connection: AsyncConnection, catalog: Catalog, owner: str) -> list[Finding]:
    """What is wrong in the owner's workspaces. The transaction must have been begun for this owner."""
    found: list[Finding] = []
    for name, resource in catalog.items():
        if resource.within is not None:
            arguments = {"owner": owner, "pattern": f"^{_PLACE}:{resource.within.own.pattern}$"}
            detail = f"the key does not agree with {resource.within.field}, or with what is made of it"
            keys = (
                await connection.execute(_wrong_keys(resource), {**arguments, "none": within.numbered(0)})
            ).scalars()
            found += [Finding(Fault.KEY, detail, name, key) for key in keys]
        for key, _, _ in await _wrong_ranks(connection, resource, owner):
            found.append(Finding(Fault.RANK, "its rank is none", name, key))
        for place, told, known in await _forgotten(connection, resource, owner):
            found.append(Finding(Fault.NUMBER, f"{told} was given and removed, the next is past {known}", name, place))
    silent = await connection.execute(_IMPORTS, {"owner": owner, "silent": imports.SILENT_S})
    detail = "it runs, and was last seen at"
    return found + [Finding(Fault.IMPORT, f"{detail} {row[2]:%Y-%m-%d %H:%M:%SZ}", "imports", row[0]) for row in silent]


async def mend(connection: AsyncConnection, catalog: Catalog, owner: str) -> int:
    """Give sequences ranks, remember numbers, end imports that nobody runs; how many rows that were.

    A sequence keeps the order in which it is shown. The transaction must have been begun for this owner, queued.
    """
    count = 0
    for resource in catalog.values():
        homes = {home for _, home, _ in await _wrong_ranks(connection, resource, owner)}
        for home in sorted(homes):
            count += await _rank_again(connection, resource, owner, home)
        for place, told, _ in await _forgotten(connection, resource, owner):
            await connection.execute(_REMEMBER, {"owner": owner, "place": place, "last": told})
            count += 1
    ended = await connection.execute(_END_IMPORTS, {"owner": owner, "silent": imports.SILENT_S})
    return count + ended.rowcount


@lru_cache
def _wrong_keys(resource: Resource) -> sa.TextClause:
    of, key = resource.within, resource.key
    made = [c for c in resource.table.columns if c.computed is not None]
    differ = " OR ".join(f"t.{c.name} IS DISTINCT FROM ({c.computed.sqltext})" for c in made if c.computed is not None)
    place = of.field if of else key
    return sa.text(f"""
        SELECT t.{key} FROM {resource.table.name} t
        WHERE t.owner = :owner AND CASE
          WHEN t.{key} !~ :pattern OR split_part(t.{key}, ':', 2) = :none THEN true
          WHEN split_part(t.{key}, ':', 1) <> CAST(t.{place} AS text) THEN true
          ELSE {differ or "false"}
        END
        ORDER BY t.{key}
    """)


async def _wrong_ranks(connection: AsyncConnection, resource: Resource, owner: str) -> list[tuple[str, str, str]]:
    """Key, home and rank of each row that has a rank by which it cannot be moved."""
    if "rank" not in resource.table.columns:
        return []
    home = resource.belongs[0].home
    statement = sa.text(f"""
        SELECT t.{resource.key}, t.{home}, t.rank FROM {resource.table.name} t
        WHERE t.owner = :owner AND (t.rank !~ :pattern OR char_length(t.rank) > :most) ORDER BY 1
    """)
    found = await connection.execute(statement, {"owner": owner, "pattern": _RANK, "most": rank.MAX_CHARS})
    return [(row[0], row[1], row[2]) for row in found]


async def _rank_again(connection: AsyncConnection, resource: Resource, owner: str, home: str) -> int:
    """New ranks for all rows of a sequence, which each of them keeps its place in; how many they are."""
    table, key, column = resource.table.name, resource.key, resource.belongs[0].home
    arguments = {"owner": owner, "home": home}
    locked = f"SELECT t.{key} FROM {table} t WHERE t.owner = :owner AND t.{column} = :home"
    await connection.execute(sa.text(f"{locked} ORDER BY t.{key} FOR UPDATE"), arguments)
    ordered = (await connection.execute(sa.text(f'{locked} ORDER BY t.rank COLLATE "C", t.{key}'), arguments)).scalars()
    keys = list(ordered)
    update = sa.text(f"""
        UPDATE {table} t SET rank = n.rank, device_id = NULL, device_name = NULL, updated_at = clock_timestamp()
        FROM unnest(CAST(:keys AS text[]), CAST(:ranks AS text[])) AS n (key, rank)
        WHERE t.owner = :owner AND t.{key} = n.key
    """)
    try:
        async with connection.begin_nested():
            await connection.execute(update, {"owner": owner, "keys": keys, "ranks": list(rank.spread(len(keys)))})
    except IntegrityError:  # a row that no check would take, for another reason: it stays as it is
        return 0
    return len(keys)


async def _forgotten(connection: AsyncConnection, resource: Resource, owner: str) -> list[tuple[str, int, int]]:
    """Place, number and the last one known, where the log tells of a removed row whose number would be given again."""
    of = resource.within
    if of is None or not of.numbered:
        return []
    home = resource.belongs[0].home
    statement = sa.text(f"""
        SELECT g.place, g.number, k.last
        FROM (
          SELECT split_part(c.key, ':', 1) AS place, max(CAST(substr(split_part(c.key, ':', 2), 2) AS bigint)) AS number
          FROM changes c
          WHERE c.owner = :owner AND c.resource = :resource AND c.op = 'remove' AND c.key ~ :pattern GROUP BY 1
        ) g
        JOIN sessions s ON s.owner = :owner AND s.id = CAST(g.place AS uuid)
        CROSS JOIN LATERAL (
          SELECT greatest(
            (SELECT max(t.number) FROM {resource.table.name} t WHERE t.owner = s.owner AND t.{home} = s.id),
            (SELECT n.last FROM node_numbers n WHERE n.owner = s.owner AND n.session_id = s.id), 0) AS last
        ) k
        WHERE g.number > k.last ORDER BY 1
    """)
    arguments = {"owner": owner, "resource": resource.name, "pattern": f"^{_PLACE}:{of.own.pattern}$"}
    return [(row[0], row[1], row[2]) for row in await connection.execute(statement, arguments)]
