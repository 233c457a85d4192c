"""The mirror in the store: what an earlier run left, and the journal of this one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from syncserver_client.mirror import Remembered
from syncserver_client.model import Row, RowId
from syncserver_client.store import Store
from syncserver_client.wire import decode_object, encode, format_stamp, optional_stamp

_SHOW = """INSERT INTO rows VALUES (?, ?, ?, ?) ON CONFLICT (resource, key)
  DO UPDATE SET "offset" = excluded."offset", body = excluded.body WHERE excluded."offset" > "offset" """
_HOLD = "INSERT INTO held VALUES (?, ?, ?) ON CONFLICT (resource, key) DO UPDATE SET body = excluded.body"
_SEEN = 'DELETE FROM acked WHERE resource = ? AND key = ? AND "offset" <= ?'
_ACKED = """INSERT INTO acked VALUES (?, ?, ?) ON CONFLICT (resource, key)
  DO UPDATE SET "offset" = excluded."offset" """


def remembered(store: Store) -> Remembered:
    """What an earlier run knew; nothing, the first time."""
    facts = store.facts()
    shown = store.read('SELECT resource, key, "offset", body FROM rows')
    return Remembered(
        rows=[_row(body) for *_, body in shown if body is not None],
        held=[_row(body) for (body,) in store.read("SELECT body FROM held")],
        removed={RowId(resource, key): offset for resource, key, offset, body in shown if body is None},
        acked={RowId(resource, key): offset for resource, key, offset in store.read("SELECT * FROM acked")},
        cursor=facts.get("cursor"),
        synced_at=optional_stamp(facts.get("synced_at")),
        refetching="refetching" in facts,
    )


class MirrorJournal:
    """Collects what happens to the mirror; whoever made it happen commits."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def held(self, rows: Sequence[Row], cursor: str) -> None:
        """See Journal."""
        self._store.write_all(_HOLD, ((*row.id, encode(row.to_wire())) for row in rows))
        self._store.remember("cursor", cursor)

    def showed(self, rows: Sequence[Row], synced_at: datetime | None, *, replaced: bool) -> None:
        """See Journal."""
        if replaced:
            for table in ("rows", "acked"):
                self._store.write(f"DELETE FROM {table}")
            self._store.remember("refetching", None)
        # A tombstone is a row without a body. Older offsets lose in the statement, as they do in the mirror.
        bodies = ((*row.id, row.offset, encode(row.to_wire()) if row.op == "put" else None) for row in rows)
        self._store.write_all(_SHOW, bodies)
        self._store.write_all(_SEEN, ((*row.id, row.offset) for row in rows))
        if rows:
            self._store.write("DELETE FROM held")
        if synced_at is not None:
            self._store.remember("synced_at", format_stamp(synced_at))

    def refetching(self) -> None:
        """See Journal."""
        self._store.write("DELETE FROM held")
        self._store.remember("cursor", None)
        self._store.remember("refetching", "1")

    def acked(self, row_id: RowId, offset: int) -> None:
        """See Journal."""
        self._store.write(_ACKED, *row_id, offset)


def _row(body: bytes) -> Row:
    return Row.from_wire(decode_object(body))
