"""What is wrong between one owner's change index and the tables under it: every entry is held against its row.

One statement is one snapshot, so a write that happens meanwhile is never taken for a fault.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import clock
from syncserver.core.change import Op
from syncserver.storage.resource import Catalog


class Fault(StrEnum):
    """The ways in which an owner's rows can be wrong: those of the index, then those of the rows by themselves."""

    NO_ENTRY = "no_entry"
    NO_ROW = "no_row"
    NOT_REMOVED = "not_removed"
    STAMP = "stamp"
    DEVICE = "device"
    ABOVE_HEAD = "above_head"
    OFFSET_TWICE = "offset_twice"
    BELOW_FLOOR = "below_floor"
    HEAD = "head"
    TRIGGER = "trigger"
    HOME_REMOVED = "home_removed"
    HOME_LOST = "home_lost"
    HOMELESS = "homeless"
    KEY = "key"
    RANK = "rank"
    NUMBER = "number"
    IMPORT = "import"
    CONSTRAINT = "constraint"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. With a key it is of one row; one of the index is mended by recording a change of that."""

    fault: Fault
    detail: str
    resource: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """What a row says of itself."""

    updated_at: datetime
    device_id: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index says of a row."""

    offset: int
    op: Op
    updated_at: datetime
    device_id: str | None


@dataclass(frozen=True, slots=True)
class Pair:
    """The entry and the row of one place; one of them may be missing.

    `synced` is False for an entry of a resource that this server does not know: its rows cannot be looked at.
    """

    resource: str
    key: str
    entry: Entry | None
    row: Version | None
    synced: bool = True


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One owner's log at one moment, with what is wrong with it."""

    epoch: str
    head: int
    floor: int
    pairs: Sequence[Pair]
    findings: Sequence[Finding]


@lru_cache
def _pairs(catalog: Catalog) -> sa.TextClause:
    rows = "\nUNION ALL ".join(
        f"""SELECT '{name}', CAST(t.{r.key} AS text), t.updated_at, t.device_id
            FROM {r.table.name} t WHERE t.owner = :owner"""
        for name, r in catalog.items()
    )
    return sa.text(f"""
        WITH e AS (SELECT * FROM changes WHERE owner = :owner),
             t (resource, key, updated_at, device_id) AS ({rows}),
             p AS (
               SELECT resource, key, e."offset", e.op, e.updated_at AS recorded_at, e.device_id AS recorded_by,
                      t.updated_at, t.device_id
               FROM e FULL JOIN t USING (resource, key)
             )
        SELECT (SELECT id FROM epoch), coalesce(c.head, 0), coalesce(c.floor, 0), p.*
        FROM (SELECT CAST(:owner AS text) AS owner) AS o
        LEFT JOIN channels c ON c.owner = o.owner
        LEFT JOIN p ON true
        ORDER BY p.resource, p."offset", p.key
    """)


_TRIGGERS = sa.text("""
    SELECT x.resource, x.table, n.name
    FROM unnest(CAST(:resources AS text[]), CAST(:tables AS text[])) AS x (resource, "table")
    CROSS JOIN (VALUES
      ('sync_stamp', false), ('sync_capture', false), ('sync_no_truncate', false),
      ('sync_capture_new', true), ('sync_capture_changed', true), ('sync_capture_gone', true)) AS n (name, gathers)
    WHERE NOT EXISTS (
      SELECT FROM pg_trigger t
      WHERE t.tgrelid = to_regclass(x.table) AND t.tgname = n.name AND t.tgenabled IN ('O', 'A')
    ) AND (NOT n.gathers OR EXISTS (
      SELECT FROM pg_trigger t
      WHERE t.tgrelid = to_regclass(x.table) AND t.tgname = 'sync_capture' AND t.tgqual IS NOT NULL))
""")


async def of(connection: AsyncConnection, catalog: Catalog, owner: str) -> Diagnosis:
    """Look at every entry and row of an owner. The transaction must have been begun for this owner."""
    found = [tuple(row) for row in await connection.execute(_pairs(catalog), {"owner": owner})]
    epoch, head, floor = found[0][:3]
    pairs = [_pair(catalog, *row[3:]) for row in found if row[3] is not None]
    tables = {name: resource.table.name for name, resource in catalog.items()}
    missing = await connection.execute(_TRIGGERS, {"resources": list(tables), "tables": list(tables.values())})
    triggers = [Finding(Fault.TRIGGER, f"{row[2]} on {row[1]}", row[0]) for row in missing]
    return Diagnosis(epoch, head, floor, pairs, [*triggers, *_judged(pairs, head, floor)])


def _pair(catalog: Catalog, resource: str, key: str, *values: Any) -> Pair:
    offset, op, recorded_at, recorded_by, updated_at, device_id = values
    entry = Entry(offset, op, recorded_at, recorded_by) if offset is not None else None
    row = Version(updated_at, device_id) if updated_at is not None else None
    return Pair(resource, key, entry, row, resource in catalog)


def _judged(pairs: Sequence[Pair], head: int, floor: int) -> Iterator[Finding]:
    offsets = Counter(pair.entry.offset for pair in pairs if pair.entry)
    greatest = max(offsets, default=0)
    if greatest > head:
        yield Finding(Fault.HEAD, f"the head is {head}, the greatest offset {greatest}")
    for pair in pairs:
        for fault, detail in chain(_of_row(pair), _of_place(pair, head, floor, offsets)):
            yield Finding(fault, detail, pair.resource, pair.key)


def _of_row(pair: Pair) -> Iterator[tuple[Fault, str]]:
    """What is wrong between the entry and its row."""
    match pair:
        case Pair(entry=None):
            yield Fault.NO_ENTRY, "the row is there, its entry is not"
        case Pair(entry=Entry(op="put"), row=None, synced=True):
            yield Fault.NO_ROW, "the entry says put, the row is not there"
        case Pair(entry=Entry(op="remove"), row=Version()):
            yield Fault.NOT_REMOVED, "the entry says remove, the row is there"
        case Pair(entry=Entry() as entry, row=Version() as row):
            if entry.updated_at != row.updated_at:
                stamps = f"{clock.write(entry.updated_at)}, the row {clock.write(row.updated_at)}"
                yield Fault.STAMP, f"the entry says {stamps}"
            if entry.device_id != row.device_id:
                yield Fault.DEVICE, f"the entry says {entry.device_id}, the row {row.device_id}"
        case _:
            pass


def _of_place(pair: Pair, head: int, floor: int, offsets: Counter[int]) -> Iterator[tuple[Fault, str]]:
    """What is wrong with where the entry stands in the log."""
    if pair.entry is None:
        return
    offset = pair.entry.offset
    if offset > head:
        yield Fault.ABOVE_HEAD, f"its offset is {offset}, the head {head}"
    if offsets[offset] > 1:
        yield Fault.OFFSET_TWICE, f"{offsets[offset]} entries have its offset {offset}"
    if pair.entry.op == "remove" and offset <= floor:
        yield Fault.BELOW_FLOOR, f"its offset is {offset}, the floor {floor}"
