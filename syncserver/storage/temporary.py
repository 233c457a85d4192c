"""Temporary names: what a client calls a row until the server has made its key. Kept as long as the ledger.

A name whose mutation was rejected is kept too, without a key, so that what refers to it can be told so.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.storage import trip
from syncserver.storage.trip import Ask

Temporary = tuple[str, str, str]
"""Owner, client id, name: each client's names are its own."""

_KEYS = sa.text("""
    SELECT t.owner, t.client_id, t.name, t.key
    FROM unnest(CAST(:owners AS text[]), CAST(:clients AS text[]), CAST(:names AS text[])) AS n (owner, client_id, name)
    CROSS JOIN LATERAL (
      SELECT * FROM temporary_keys f
      WHERE f.owner = n.owner AND f.client_id = n.client_id AND f.name = n.name OFFSET 0
    ) t
""")

_KEEP = sa.text("""
    INSERT INTO temporary_keys (owner, client_id, name, resource, key)
    SELECT owner, client_id, name, resource, key FROM jsonb_to_recordset(CAST(:names AS jsonb))
      AS r (owner text, client_id text, name text, resource text, key text)
    ON CONFLICT (owner, client_id, name) DO UPDATE SET resource = excluded.resource, key = excluded.key
      WHERE temporary_keys.key IS NULL
""")


@dataclass(frozen=True, slots=True)
class Became:
    """What a temporary name became: the key of a row of this resource, or None where the row was refused."""

    temporary: Temporary
    resource: str
    key: str | None


def looked_up(temporaries: Collection[Temporary]) -> Ask[dict[Temporary, str | None]]:
    """The keys behind these names, None for a refused row; names that were never used are not in it."""
    columns = [trip.array(column) for column in zip(*sorted(temporaries), strict=True)] or ["{}"] * 3
    return Ask(_KEYS, dict(zip(("owners", "clients", "names"), columns, strict=True)), _known)


def _known(rows: Sequence[Any]) -> dict[Temporary, str | None]:
    return {(row[0], row[1], row[2]): row[3] for row in rows}


def kept(became: Sequence[Became]) -> Ask[None]:
    """Keep these, in the transaction that made them true. A name that has a key keeps it for good."""
    rows = [
        {
            "owner": b.temporary[0],
            "client_id": b.temporary[1],
            "name": b.temporary[2],
            "resource": b.resource,
            "key": b.key,
        }
        for b in became
    ]
    return Ask(_KEEP, {"names": orjson.dumps(rows).decode()})


async def keep(connection: AsyncConnection, became: Sequence[Became]) -> None:
    """The same, at once."""
    await trip.one(connection, kept(became))
