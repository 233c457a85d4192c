"""The ledger: the first answer to each mutation, so that a retry over any transport gets the same one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import clock
from syncserver.storage import trip
from syncserver.storage.trip import Ask

Name = tuple[str, str, str]
"""Owner, client id, mutation id."""

_FIRST = sa.text("""
    SELECT m.owner, m.client_id, m.mutation_id::text, m.ack::text
    FROM unnest(CAST(:owners AS text[]), CAST(:clients AS text[]), CAST(:ids AS uuid[]))
      AS n (owner, client_id, mutation_id)
    CROSS JOIN LATERAL (
      SELECT * FROM mutations f
      WHERE f.owner = n.owner AND f.client_id = n.client_id AND f.mutation_id = n.mutation_id OFFSET 0
    ) m
""")

_RECORD = sa.text("""
    INSERT INTO mutations (owner, client_id, mutation_id, "offset", ack, claimed_at)
    SELECT owner, client_id, mutation_id, "offset", ack, claimed_at FROM jsonb_to_recordset(CAST(:answers AS jsonb))
      AS r (owner text, client_id text, mutation_id uuid, "offset" bigint, ack jsonb, claimed_at timestamptz)
""")


@dataclass(frozen=True, slots=True)
class Answer:
    """An ack to keep. `offset` is where this mutation wrote, None where it did not.

    `claimed_at`: the stamp as the device claimed it, where the write got another.
    """

    name: Name
    offset: int | None
    ack: dict[str, Any]
    claimed_at: datetime | None = None


def looked_up(names: Sequence[Name]) -> Ask[dict[Name, dict[str, Any]]]:
    """The acks that these mutations got, for those that were answered before."""
    columns = [trip.array(column) for column in zip(*names, strict=True)] or ["{}"] * 3
    return Ask(_FIRST, dict(zip(("owners", "clients", "ids"), columns, strict=True)), _answers)


def _answers(rows: Sequence[Any]) -> dict[Name, dict[str, Any]]:
    return {(row[0], row[1], row[2]): orjson.loads(row[3]) for row in rows}


async def first(connection: AsyncConnection, names: Sequence[Name]) -> dict[Name, dict[str, Any]]:
    """The same, at once."""
    return await trip.one(connection, looked_up(names))


def recorded(answers: Sequence[Answer]) -> Ask[None]:
    """Keep these answers, in the transaction that made them true."""
    return Ask(_RECORD, {"answers": orjson.dumps([_row(a) for a in answers]).decode()})


async def record(connection: AsyncConnection, answers: Sequence[Answer]) -> None:
    """The same, at once."""
    await trip.one(connection, recorded(answers))


def _row(answer: Answer) -> dict[str, Any]:
    owner, client_id, mutation_id = answer.name
    return {
        "owner": owner,
        "client_id": client_id,
        "mutation_id": mutation_id,
        "offset": answer.offset,
        "ack": answer.ack,
        "claimed_at": answer.claimed_at and clock.write(answer.claimed_at),
    }
