"""What a mirror holds, as one number a resource: the server counts the same way, and a difference shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from syncserver_client.model import Row
from syncserver_client.wire import JsonObject, format_stamp

_BYTES = 8


def digests(rows: Iterable[Row], resources: Sequence[str] | None) -> JsonObject:
    """Of each resource (None: those that rows are held of) the number of rows, and the XOR of their hashes."""
    counts: dict[str, int] = dict.fromkeys(resources or (), 0)
    sums: dict[str, int] = dict.fromkeys(resources or (), 0)
    for row in rows:
        counts[row.resource] = counts.get(row.resource, 0) + 1
        sums[row.resource] = sums.get(row.resource, 0) ^ _hash(row)
    return {name: {"rows": counts[name], "xor": f"{sums[name]:016x}"} for name in counts}


def _hash(row: Row) -> int:
    text = "\n".join((row.resource, row.key, str(row.offset), format_stamp(row.updated_at)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:_BYTES])
