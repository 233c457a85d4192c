"""What an operator does to the log, as the tables' owner: mend an owner's entries from the rows, rotate the epoch."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.storage import diagnosis
from syncserver.storage.diagnosis import Pair
from syncserver.storage.resource import Catalog

# Every recorded change needs this row: from here on the owner's index stands still. No row of a table is locked, so
# nobody who holds one and waits for the channel can be waited for in turn.
_CHANNEL = sa.text("""
    INSERT INTO channels AS c (owner) VALUES (:owner) ON CONFLICT (owner) DO UPDATE SET head = c.head
""")
_HEAD = sa.text("""
    UPDATE channels SET head = greatest(head, (SELECT max("offset") FROM changes WHERE owner = :owner))
    WHERE owner = :owner
""")
_RECORD = sa.text("""
    SELECT sync_record_v3(:owner, :resource, :key, :op,
      CASE WHEN :gone THEN greatest(clock_timestamp(), :updated_at + interval '1 microsecond') ELSE :updated_at END,
      :device_id)
""")
_ROTATE = sa.text("SELECT sync_rotate_epoch_v1()")


async def mend(connection: AsyncConnection, catalog: Catalog, owner: str) -> int:
    """Record a change of every row of the owner whose entry is wrong; gives how many, 0 if only the head was.

    The rows are the truth: an entry follows its row, and an entry without one becomes a removal of now. The
    transaction must have been begun for this owner, queued.
    """
    await connection.execute(_CHANNEL, {"owner": owner})
    found = await diagnosis.of(connection, catalog, owner)
    await connection.execute(_HEAD, {"owner": owner})
    wrong = {(finding.resource, finding.key) for finding in found.findings if finding.key is not None}
    pairs = [pair for pair in found.pairs if (pair.resource, pair.key) in wrong]
    for pair in pairs:
        await connection.execute(_RECORD, {"owner": owner, **_change(pair)})
    return len(pairs)


def _change(pair: Pair) -> dict[str, object]:
    """What to record of a place. `gone`: a removal that nobody recorded, so that it is of now and of no device."""
    said = pair.row or pair.entry
    if said is None:
        raise ValueError("neither an entry nor a row")
    lost = pair.synced and pair.row is None and pair.entry is not None and pair.entry.op == "put"
    stays = pair.row is not None or (pair.entry is not None and pair.entry.op == "put" and not lost)
    return {
        "resource": pair.resource,
        "key": pair.key,
        "op": "put" if stays else "remove",
        "gone": lost,
        "updated_at": said.updated_at,
        "device_id": None if lost else said.device_id,
    }


async def rotate_epoch(connection: AsyncConnection) -> str:
    """Give the log a new identity, so that every device fetches everything again; gives the new epoch."""
    return str((await connection.execute(_ROTATE)).scalar_one())
