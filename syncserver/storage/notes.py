"""Notes between one owner's devices: rows that live for seconds, each with a doorbell of its own.

A note is a frame that waits to be passed on; nothing keeps it. Its doorbell says its number and its owner, and never
what it says: any login may LISTEN, while row-level security guards the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

CHANNEL = "syncserver_notes"
"""The notify channel of all that is ephemeral."""

Kind = Literal["broadcast", "conflict"]
Ring = tuple[str, int]
"""What a note's doorbell said: owner and number."""

# One NOTIFY a note, in the order given: doorbells of one transaction are heard in the order in which they were rung.
_POST = sa.text("""
    WITH posted AS (
      INSERT INTO notes (owner, kind, connection, device_id, body)
      SELECT owner, kind, connection, device_id, body FROM ROWS FROM (
        jsonb_to_recordset(CAST(:notes AS jsonb)) AS (owner text, kind text, connection uuid, device_id text, body text)
      ) WITH ORDINALITY AS n (owner, kind, connection, device_id, body, place) ORDER BY place
      RETURNING owner, id
    )
    SELECT pg_notify(:channel, id || ' ' || owner) FROM (SELECT owner, id FROM posted ORDER BY id) AS p
""")

# Numbers do not commit in order, so no cursor could go by them: each note is asked for by its own number.
_READ = sa.text("""
    SELECT n.owner, n.kind, n.body, n.connection::text, n.device_id
    FROM unnest(CAST(:owners AS text[]), CAST(:ids AS bigint[])) WITH ORDINALITY AS r (owner, id, place)
    CROSS JOIN LATERAL (SELECT * FROM notes f WHERE f.owner = r.owner AND f.id = r.id OFFSET 0) n
    ORDER BY r.place
""")


@dataclass(frozen=True, slots=True)
class Note:
    """`body`: the frame, as JSON text, as devices will hear it.

    `connection`: the one that sent it, which does not hear it. `device_id`: the one device it is for; None: all.
    """

    owner: str
    kind: Kind
    body: str
    connection: str | None = None
    device_id: str | None = None


async def post(connection: AsyncConnection, notes: Sequence[Note]) -> None:
    """Leave these notes, in the caller's transaction; their doorbells ring when it commits, in this order.

    The transaction names their owners, or row-level security refuses.
    """
    if not notes:
        return
    rows = [
        {"owner": n.owner, "kind": n.kind, "connection": n.connection, "device_id": n.device_id, "body": n.body}
        for n in notes
    ]
    await connection.execute(_POST, {"notes": orjson.dumps(rows).decode(), "channel": CHANNEL})


async def read(connection: AsyncConnection, rung: Sequence[Ring]) -> list[Note]:
    """These notes, in this order; those that are gone already, or another owner's, are left out."""
    arguments = {"owners": [owner for owner, _ in rung], "ids": [number for _, number in rung]}
    return [Note(*row) for row in await connection.execute(_READ, arguments)]
