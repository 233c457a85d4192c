"""The one read door. Live delivery, resume, first fetch and polling all read the log through `since`.

One statement is one snapshot: bounds, entries and the rows' present state belong together, for all owners asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.change import Change, Op, Page
from syncserver.storage import trip
from syncserver.storage.resource import Catalog, Resource
from syncserver.storage.trip import Ask

PAGE_ROWS = 500
PAGE_BYTES = 524_288
"""Frames stay under 1 MiB, which is what WebSocket libraries take by default."""

_ENVELOPE_BYTES = 256
_OFFSET = attrgetter("offset")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a row stands in the log, without its state."""

    owner: str
    resource: str
    key: str
    offset: int
    op: Op
    updated_at: datetime
    device_id: str | None


def row_as_json(resource: Resource, alias: str, but: frozenset[str] = frozenset()) -> str:
    """SQL for a row's columns, `but` these, as JSON text: stamps as the wire writes them, in the table's order."""
    members = ", ".join(f"'{c.name}', {_value(c, alias)}" for c in resource.columns if c.name not in but)
    return f"json_build_object({members})::text"


def _value(column: sa.Column[Any], alias: str) -> str:
    name = f'{alias}."{column.name}"'
    return stamp_as_text(name) if isinstance(column.type, sa.DateTime) else name


def type_of(column: sa.Column[Any]) -> str:
    """The column's type, for a cast to it."""
    kind = sa.Text() if isinstance(column.type, sa.Text) else column.type  # a cast names no collation
    return str(kind.compile(pg.dialect()))  # type: ignore[no-untyped-call]


def as_key(expression: str) -> str:
    """SQL for a row's key as the log has it: without a collation of its own, which the log's index would not take."""
    return f'{expression}::text COLLATE "default"'


def stamp_as_text(value: str) -> str:
    """SQL for a stamp as the wire writes it (see core.clock.write)."""
    return f"""to_char({value} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


@lru_cache
def _since(catalog: Catalog) -> sa.TextClause:
    states = "\n".join(
        f"""WHEN '{name}' THEN (SELECT {row_as_json(r, "t")} FROM {r.table.name} t
              WHERE t.owner = p.owner AND t.{r.key} = CAST(e.key AS {type_of(r.table.c[r.key])}))"""
        for name, r in catalog.items()
    )
    return sa.text(f"""
        SELECT p.owner, (SELECT id FROM epoch), coalesce(c.head, 0), coalesce(c.floor, 0),
               e.resource, e.key, e."offset", e.op, e.updated_at, e.device_id,
               CASE WHEN e.op = 'put' THEN CASE e.resource {states} END END, m.mutation_id, m.claimed_at
        FROM unnest(CAST(:owners AS text[]), CAST(:offsets AS bigint[])) AS p (owner, after)
        LEFT JOIN LATERAL (
          SELECT head, floor FROM channels WHERE channels.owner = p.owner OFFSET 0
        ) c ON true
        LEFT JOIN LATERAL (
          SELECT * FROM changes
          WHERE changes.owner = p.owner AND changes."offset" > p.after
            AND changes.resource || '' = ANY (CAST(:resources AS text[]))
          ORDER BY changes."offset" LIMIT :count
        ) e ON true
        LEFT JOIN LATERAL (
          SELECT mutation_id::text, claimed_at FROM mutations
          WHERE mutations.owner = p.owner AND mutations."offset" = e."offset" LIMIT 1
        ) m ON true
    """)


def since(
    catalog: Catalog, after: Mapping[str, int], resources: Sequence[str] | None = None, limit: int = PAGE_ROWS
) -> Ask[dict[str, Page]]:
    """For each owner a page of what the log holds past the offset `after[owner]`, at most `limit` changes each.

    A page ends early where its rows pass PAGE_BYTES; one row of any size fits. All pages are of one snapshot.
    `resources`: only these kinds (None: all of the catalog). The transaction must have been begun for these owners;
    of any other, an empty log is what it sees. It costs what the pages hold, whatever else is there: each look-up is a
    LATERAL that goes by one index, so by `Database.read` no plan but this one can be made (decision 21).
    """
    arguments: dict[str, trip.Value] = {
        "owners": trip.array(after),
        "offsets": trip.array(map(str, after.values())),
        "resources": trip.array(catalog if resources is None else resources),
        "count": limit + 1,
    }
    return Ask(_since(catalog), arguments, partial(_pages, after, limit))


def _pages(after: Mapping[str, int], limit: int, found: Sequence[Sequence[Any]]) -> dict[str, Page]:
    rows: dict[str, list[Sequence[Any]]] = {}
    for row in found:
        rows.setdefault(row[0], []).append(row)
    return {owner: _page(owner, after[owner], rows[owner], limit) for owner in after}


def _page(owner: str, after: int, rows: Sequence[Sequence[Any]], limit: int) -> Page:
    epoch, head, floor = rows[0][1:4]
    entries = [Change._make(row[4:]) for row in rows if row[4] is not None]
    entries.sort(key=_OFFSET)  # they come in this order: nobody has promised it
    fitting = _fitting(entries[:limit])
    more = len(entries) > fitting
    entries = entries[:fitting]
    until = entries[-1].offset if more else max(head, after)
    return Page(owner, epoch, after, until, floor, head, entries, more)


def _fitting(entries: Sequence[Change]) -> int:
    """How many of these make a page that is not too large."""
    size = 0
    for number, entry in enumerate(entries):
        size += len((entry.data or "").encode()) + len(entry.key.encode()) + _ENVELOPE_BYTES
        if number and size > PAGE_BYTES:
            return number
    return len(entries)


_HEADS = sa.text("""
    SELECT owner, head FROM channels WHERE owner = ANY (CAST(:owners AS text[]))
""")


async def heads(connection: AsyncConnection, owners: Sequence[str]) -> dict[str, int]:
    """The newest offset of each owner's channel; owners whose channel does not exist yet are not in it."""
    return {row[0]: row[1] for row in await connection.execute(_HEADS, {"owners": list(owners)})}


_NEWEST = sa.text("""
    SELECT o.owner, c."offset" FROM unnest(CAST(:owners AS text[])) AS o (owner)
    CROSS JOIN LATERAL (
      SELECT "offset" FROM changes WHERE changes.owner = o.owner ORDER BY changes."offset" DESC LIMIT 1
    ) c
""")


async def newest(connection: AsyncConnection, owners: Sequence[str]) -> dict[str, int]:
    """The greatest offset in each owner's log, those of this very transaction among them, which heads are not."""
    return {row[0]: row[1] for row in await connection.execute(_NEWEST, {"owners": list(owners)})}


_EPOCH = sa.text("SELECT sync_epoch_v1()")


async def epoch(connection: AsyncConnection) -> str:
    """The log's identity; a new one when the database was restored or promoted since it was last asked."""
    return str((await connection.execute(_EPOCH)).scalar_one())


_ENTRIES = sa.text("""
    SELECT e.owner, e.resource, e.key, e."offset", e.op, e.updated_at, e.device_id
    FROM unnest(CAST(:owners AS text[]), CAST(:resources AS text[]), CAST(:keys AS text[])) AS k (owner, resource, key)
    CROSS JOIN LATERAL (
      SELECT * FROM changes c WHERE c.owner = k.owner AND c.resource = k.resource AND c.key = k.key OFFSET 0
    ) e
""")

Place = tuple[str, str, str]
"""Owner, resource, key: one row, wherever it is."""


def standing(places: Sequence[Place]) -> Ask[dict[Place, Entry]]:
    """Where these rows stand in the log, tombstones included; rows that never were are not in it."""
    owners, resources, keys = (trip.array([place[part] for place in places]) for part in range(3))
    return Ask(_ENTRIES, {"owners": owners, "resources": resources, "keys": keys}, _entries)


def _entries(found: Sequence[Any]) -> dict[Place, Entry]:
    return {(row[0], row[1], row[2]): Entry(*row) for row in found}


async def entries(connection: AsyncConnection, places: Sequence[Place]) -> dict[Place, Entry]:
    """The same, at once."""
    return await trip.one(connection, standing(places))


_REMOVED = sa.text("""
    SELECT sync_removed_v3(:owner, :resource, :key, :updated_at, :device_id)
""")


def tombstone(place: Place, updated_at: datetime, device_id: str) -> Ask[None]:
    """Give the tombstone at `place` the stamp and device of the mutation that removed the row."""
    owner, resource, key = place
    named: dict[str, trip.Value] = {"owner": owner, "resource": resource, "key": key}
    return Ask(_REMOVED, {**named, "updated_at": updated_at, "device_id": device_id})
