"""Rows that belong to others which are not there: what a foreign key forbids, and what comes to be where it is off.

What becomes of such a row goes by what the log says of its home. Removed: it goes too, as by the cascade that did not
happen. Lost, and of a kind that can be empty: the home is made again, so that the row stays. Else it is told and left.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.storage.changes import as_key
from syncserver.storage.diagnosis import Fault, Finding
from syncserver.storage.resource import Belongs, Catalog, Resource


@dataclass(frozen=True, slots=True)
class Orphan:
    """A row without the home that it names. `removed`: the log says so. `housed`: that home has its own homes."""

    resource: Resource
    belongs: Belongs
    key: str
    home: str
    removed: bool
    housed: bool


async def of(connection: AsyncConnection, catalog: Catalog, owner: str) -> list[Finding]:
    """Every row of the owner without a home. The transaction must have been begun for this owner."""
    return [_finding(catalog, orphan) for orphan in await _orphans(connection, catalog, owner)]


async def mend(connection: AsyncConnection, catalog: Catalog, owner: str) -> int:
    """Remove rows whose home was removed, make again homes that were lost; how many rows that were.

    Rows are locked in the order of their keys, before the log is. The transaction must have been begun for this owner,
    queued.
    """
    orphans = await _orphans(connection, catalog, owner)
    gone = {(o.resource.name, o.key) for o in orphans if o.removed}
    for resource in catalog.values():
        keys = sorted(key for name, key in gone if name == resource.name)
        if keys:
            await connection.execute(_remove(resource), {"owner": owner, "keys": keys})
    left = await _orphans(connection, catalog, owner)
    lost = {(o.belongs.resource, o.home) for o in left if _fault(catalog, o) is Fault.HOME_LOST}
    for name, key in sorted(lost):
        await connection.execute(_make(catalog[name]), {"owner": owner, "key": key})
    return len(gone) + len(lost)


async def _orphans(connection: AsyncConnection, catalog: Catalog, owner: str) -> list[Orphan]:
    found: list[Orphan] = []
    for resource in catalog.values():
        for belongs in resource.belongs:
            rows = await connection.execute(_homeless(catalog, resource, belongs), {"owner": owner})
            found += [Orphan(resource, belongs, *row) for row in rows]
    return found


@lru_cache
def _homeless(catalog: Catalog, resource: Resource, belongs: Belongs) -> sa.TextClause:
    home = catalog[belongs.resource]
    above = " AND ".join(_housed(catalog, home)) or "true"
    return sa.text(f"""
        SELECT CAST(t.{resource.key} AS text), CAST(t.{belongs.home} AS text),
               coalesce((SELECT c.op = 'remove' FROM changes c WHERE c.owner = t.owner
                 AND c.resource = '{home.name}' AND c.key = {as_key(f"t.{belongs.home}")}), false),
               {above}
        FROM {resource.table.name} t
        WHERE t.owner = :owner AND NOT EXISTS (
          SELECT FROM {home.table.name} h WHERE h.owner = t.owner AND h.{home.key} = t.{belongs.home})
        ORDER BY 1
    """)


def _housed(catalog: Catalog, home: Resource) -> Iterator[str]:
    """SQL: what a row's home belongs to is there, as far as the row knows of it: both stand in the same place."""
    for belongs in home.belongs:
        if home.within is not None and belongs.home == home.within.field:
            over = catalog[belongs.resource]
            yield f"""EXISTS (SELECT FROM {over.table.name} o
                WHERE o.owner = t.owner AND o.{over.key} = t.{belongs.home})"""
        else:
            yield "false"


def _finding(catalog: Catalog, orphan: Orphan) -> Finding:
    detail = f"its {orphan.belongs.field} names {orphan.home} of {orphan.belongs.resource}, which is not there"
    return Finding(_fault(catalog, orphan), detail, orphan.resource.name, orphan.key)


def _fault(catalog: Catalog, orphan: Orphan) -> Fault:
    home = catalog[orphan.belongs.resource]
    if orphan.removed:
        return Fault.HOME_REMOVED
    return Fault.HOME_LOST if orphan.housed and _can_be_made(home, orphan.home) else Fault.HOMELESS


def _can_be_made(home: Resource, key: str) -> bool:
    """A row with nothing but this key can be. One that no client writes is never: a session that ended stays so."""
    try:
        good = home.canonical(key) == key
    except ValueError:
        good = False
    known = {"owner", home.key, "updated_at", *([home.within.field] if home.within else [])}
    others = [column for column in home.table.columns if column.name not in known]
    return good and not home.read_only and all(c.nullable or c.server_default is not None for c in others)


@lru_cache
def _remove(resource: Resource) -> sa.TextClause:
    key = resource.key
    return sa.text(f"""
        WITH locked AS (
          SELECT t.{key} FROM {resource.table.name} t
          WHERE t.owner = :owner AND CAST(t.{key} AS text) = ANY (CAST(:keys AS text[])) ORDER BY t.{key} FOR UPDATE
        )
        DELETE FROM {resource.table.name} t USING locked l WHERE t.owner = :owner AND t.{key} = l.{key}
    """)


@lru_cache
def _make(home: Resource) -> sa.TextClause:
    place, of = (f", {home.within.field}", ", CAST(split_part(:key, ':', 1) AS uuid)") if home.within else ("", "")
    kind = "uuid" if home.has_uuids else "text"
    return sa.text(f"""
        INSERT INTO {home.table.name} (owner, {home.key}{place}, updated_at)
        VALUES (:owner, CAST(:key AS {kind}){of}, clock_timestamp())
        ON CONFLICT DO NOTHING
    """)
