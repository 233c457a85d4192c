"""Rows that something else belongs to become as new as that is; what else they hold stays."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.storage.resource import Resource


@dataclass(frozen=True, slots=True)
class Raise:
    """A row that is to be as new as `at`, unless it is so already but for `rest`."""

    owner: str
    key: str
    at: datetime
    rest: timedelta = timedelta()


@lru_cache
def _raised(resource: Resource) -> sa.TextClause:
    return sa.text(f"""
        UPDATE {resource.table.name} t SET updated_at = r.at
        FROM unnest(CAST(:owners AS text[]), CAST(:keys AS uuid[]), CAST(:ats AS timestamptz[]),
          CAST(:rests AS interval[])) AS r (owner, key, at, rest)
        WHERE t.owner = r.owner AND t.{resource.key} = r.key AND t.updated_at + r.rest < r.at
        RETURNING t.owner, t.{resource.key}::text
    """)


async def raised(connection: AsyncConnection, resource: Resource, rows: Sequence[Raise]) -> list[tuple[str, str]]:
    """Raise these, each named once; the owner and key of those that were older."""
    if not rows:
        return []
    arguments = {
        "owners": [row.owner for row in rows],
        "keys": [row.key for row in rows],
        "ats": [row.at for row in rows],
        "rests": [row.rest for row in rows],
    }
    return [(row[0], row[1]) for row in await connection.execute(_raised(resource), arguments)]
