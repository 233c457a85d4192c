"""What is so: the rows straight from their tables, and what a client holds compared with them, whole.

Rows are read as `to_jsonb` writes them, so that not even the JSON is made by the code under test.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.oracle.ground import CATALOG

Place = tuple[str, str]
"""Resource and key: one row of an owner."""


class Held(NamedTuple):
    """One live row: where it stands in the log, all of it, its stamp and its device."""

    offset: int
    row: Mapping[str, Any]
    updated_at: datetime
    device_id: str | None


@dataclass(slots=True)
class Truth:
    """An owner's channel and rows in one snapshot. `hidden`: rows that are there, but not for the log."""

    head: int = 0
    floor: int = 0
    rows: dict[Place, Held] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)

    def of(self, wanted: Collection[str] | None) -> dict[Place, Held]:
        """The rows of these resources (None: all)."""
        return self.rows if wanted is None else {p: held for p, held in self.rows.items() if p[0] in wanted}


_ROWS = sa.text(
    " UNION ALL ".join(
        f"""SELECT t.owner, '{name}', t.{r.key}::text, to_jsonb(t)::text, t.updated_at, t.device_id, e."offset", e.op
        FROM {r.table.name} t
        LEFT JOIN changes e ON e.owner = t.owner AND e.resource = '{name}' AND e.key = t.{r.key}::text
        WHERE t.owner = ANY (CAST(:owners AS text[]))"""
        for name, r in CATALOG.items()
    )
)
_CHANNELS = sa.text("SELECT owner, head, floor FROM channels WHERE owner = ANY (CAST(:owners AS text[]))")
_COLUMNS = {name: frozenset(column.name for column in r.columns) for name, r in CATALOG.items()}


async def read(connection: AsyncConnection, owners: Sequence[str]) -> dict[str, Truth]:
    """The truth about each owner, in the transaction's snapshot."""
    found = {owner: Truth() for owner in owners}
    for owner, head, floor in await connection.execute(_CHANNELS, {"owners": owners}):
        found[owner].head, found[owner].floor = head, floor
    for owner, resource, key, row, updated_at, device_id, offset, op in await connection.execute(
        _ROWS, {"owners": owners}
    ):
        found[owner].rows[resource, key] = Held(offset, plain(resource, row), updated_at, device_id)
        if op != "put":
            found[owner].hidden.append(f"{resource} {key} is a row, but the log's entry of it is {op} at {offset}")
    return found


@lru_cache(maxsize=50_000)
def plain(resource: str, text: str) -> Mapping[str, Any]:
    """A row's synced columns out of JSON, stamps as moments, so that two ways to write them compare."""
    row = orjson.loads(text)
    return {name: _plain(name, row[name]) for name in row if name in _COLUMNS[resource]}


def _plain(name: str, value: Any) -> Any:
    return datetime.fromisoformat(value) if name.endswith("_at") and isinstance(value, str) else value


def difference(held: Mapping[Place, Held], true: Mapping[Place, Held]) -> str | None:
    """The first row, by name, that is not held as it is; None if both are the same."""
    if held == true:
        return None
    place = min(p for p in held.keys() | true.keys() if held.get(p) != true.get(p))
    return f"{' '.join(place)}\n    held: {held.get(place, 'nothing')}\n    true: {true.get(place, 'no such row')}"
