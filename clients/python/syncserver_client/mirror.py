"""The client's copy of the owner's rows: pure, no I/O.

Rows that arrive are held back until the server says that they are complete, then shown at once, so nobody sees
a half state. The cursor moves with every page, shown or not, so that a cut in the middle resumes in the middle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from syncserver_client.model import Change, Row, RowId


class Mirror:
    """`rows`: what is shown. `cursor`: up to where rows arrived. `synced_at`: server time when all was shown."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.cursor: str | None = None
        self.synced_at: datetime | None = None
        self._removed: dict[RowId, int] = {}  # offsets of tombstones, so that a resent older put stays dead
        self._acked: dict[RowId, int] = {}  # offsets of own writes whose change has not come back yet
        self._held: dict[RowId, Row] = {}
        self._refetching = False

    def hold(self, rows: Iterable[Row], cursor: str) -> None:
        """Take a page without showing it; `cursor` is where it ends."""
        for row in rows:
            held = self._held.get(row.id)
            if held is None or held.offset < row.offset:
                self._held[row.id] = row
        self.cursor = cursor

    def show(self, received_at: datetime, synced_at: datetime | None = None) -> Sequence[Change]:
        """Show everything held, as one step; the news in it, by offset."""
        changes = self._replace(received_at) if self._refetching else self._advance(received_at)
        self._held.clear()
        self._refetching = False
        self.synced_at = synced_at or self.synced_at
        return changes

    def refetch(self) -> None:
        """Begin again from nothing behind the scenes; what is shown stays until the new copy is complete."""
        self.cursor = None
        self._held.clear()
        self._refetching = True

    def saw(self, row_id: RowId, offset: int) -> None:
        """An ack told of this offset before the change itself arrived."""
        if offset > (self.base(row_id) or 0):
            self._acked[row_id] = offset

    def base(self, row_id: RowId) -> int | None:
        """The offset at which this client last saw the row (or its removal, or its own write); None if never."""
        known = max(self._shown_offset(row_id), self._acked.get(row_id, 0))
        return known or None

    def _shown_offset(self, row_id: RowId) -> int:
        row = self.rows.get(row_id)
        return row.offset if row is not None else self._removed.get(row_id, 0)

    def _advance(self, received_at: datetime) -> list[Change]:
        news = [row for row in self._held.values() if row.offset > self._shown_offset(row.id)]
        news.sort(key=lambda row: row.offset)
        for row in news:
            self._apply(row)
        return [Change.of(row, received_at) for row in news]

    def _apply(self, row: Row) -> None:
        if row.op == "put":
            self.rows[row.id] = row
            self._removed.pop(row.id, None)
        else:
            self.rows.pop(row.id, None)
            self._removed[row.id] = row.offset
        if self._acked.get(row.id, 0) <= row.offset:
            self._acked.pop(row.id, None)

    def _replace(self, received_at: datetime) -> list[Change]:
        """Offsets of the old and new copy may belong to different logs, so whole rows are compared."""
        changes = [Change.of(row, received_at) for row in self._held.values() if self._differs(row)]
        changes += [Change.gone(row, received_at) for row_id, row in self.rows.items() if row_id not in self._held]
        self.rows.clear()
        self._removed.clear()
        self._acked.clear()
        for row in self._held.values():
            self._apply(row)
        return sorted(changes, key=lambda change: change.offset)

    def _differs(self, row: Row) -> bool:
        shown = self.rows.get(row.id)
        return shown is not None if row.op == "remove" else shown != row
