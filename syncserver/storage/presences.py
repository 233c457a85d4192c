"""Who is here: a row for each connection that said so, and a sign of life for each server process.

A row is as much alive as the process that wrote it: whoever reads leaves out those of a process that went silent.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import clock
from syncserver.storage.notes import CHANNEL

RING = "presence"
"""The first word of the doorbell that says whose list of devices changed; the second is the owner."""

Name = tuple[str, str]
"""Owner and connection."""

_ALIVE = sa.text("SELECT sync_alive_v1(CAST(:process AS uuid), make_interval(secs => :silent_s))")

_HERE = sa.text("""
    INSERT INTO presences (owner, connection, process, device_id, device_name, app, state, since, seen_at)
    SELECT owner, connection, CAST(:process AS uuid), device_id, device_name, app, state, since, clock_timestamp()
    FROM jsonb_to_recordset(CAST(:present AS jsonb)) AS r
      (owner text, connection uuid, device_id text, device_name text, app text, state text, since timestamptz)
    ON CONFLICT (owner, connection) DO UPDATE SET
      process = excluded.process, state = excluded.state, seen_at = excluded.seen_at
""")

_GONE = sa.text("""
    DELETE FROM presences AS p
    USING unnest(CAST(:owners AS text[]), CAST(:connections AS uuid[])) AS g (owner, connection)
    WHERE p.owner = g.owner AND p.connection = g.connection
""")

_RING = sa.text("SELECT pg_notify(:channel, :word || ' ' || owner) FROM unnest(CAST(:owners AS text[])) AS o (owner)")

_READ = sa.text("""
    SELECT p.owner, p.connection::text, p.device_id, p.device_name, p.app, p.state, p.since,
           greatest(p.seen_at, r.seen_at)
    FROM presences AS p JOIN processes AS r ON r.id = p.process
    WHERE p.owner = ANY (CAST(:owners AS text[])) AND r.seen_at > clock_timestamp() - make_interval(secs => :silent_s)
""")


@dataclass(frozen=True, slots=True)
class Present:
    """One connection that is here. `state` is JSON text; when it was last seen makes no other state of it."""

    owner: str
    connection: str
    device_id: str
    device_name: str | None
    app: str | None
    state: str | None
    since: datetime
    seen_at: datetime | None = field(default=None, compare=False)

    @property
    def name(self) -> Name:
        """What it is told apart by."""
        return self.owner, self.connection


async def alive(connection: AsyncConnection, process: str, silent_s: float) -> bool:
    """Show that this process lives, and clear up after those that were silent for `silent_s`.

    False when it was itself not known, or silent for so long: what it wrote may be gone, and is to be written again.
    """
    found = await connection.execute(_ALIVE, {"process": process, "silent_s": silent_s})
    return bool(found.scalar_one())


async def write(connection: AsyncConnection, process: str, here: Sequence[Present], gone: Collection[Name]) -> None:
    """These are here as they are now, those are gone; every owner concerned is rung when it commits."""
    if here:
        present = orjson.dumps([_row(p) for p in here]).decode()
        await connection.execute(_HERE, {"process": process, "present": present})
    if gone:
        arguments = {"owners": [owner for owner, _ in gone], "connections": [name for _, name in gone]}
        await connection.execute(_GONE, arguments)
    owners = sorted({p.owner for p in here} | {owner for owner, _ in gone})
    await connection.execute(_RING, {"channel": CHANNEL, "word": RING, "owners": owners})


async def read(connection: AsyncConnection, owners: Collection[str], silent_s: float) -> list[Present]:
    """Everybody of these owners who is here, in no order, but for those whose process was silent for `silent_s`."""
    found = await connection.execute(_READ, {"owners": list(owners), "silent_s": silent_s})
    return [Present(*row) for row in found]


def _row(present: Present) -> dict[str, Any]:
    return {
        "owner": present.owner,
        "connection": present.connection,
        "device_id": present.device_id,
        "device_name": present.device_name,
        "app": present.app,
        "state": present.state,
        "since": clock.write(present.since),
    }
