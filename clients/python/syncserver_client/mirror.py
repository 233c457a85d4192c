"""The client's copy of the owner's rows: pure, no I/O.

Rows that arrive are held back until the server says that they are complete, then shown at once, so nobody sees
a half state. The cursor moves with every page, shown or not, so that a cut in the middle resumes in the middle.
What happens is told to a journal, which may keep it for the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from syncserver_client.model import Change, Row, RowId


@dataclass(slots=True)
class Remembered:
    """All that a mirror knows, as an earlier run left it."""

    rows: list[Row] = field(default_factory=list)
    held: list[Row] = field(default_factory=list)
    removed: dict[RowId, int] = field(default_factory=dict)
    acked: dict[RowId, int] = field(default_factory=dict)
    cursor: str | None = None
    synced_at: datetime | None = None
    refetching: bool = False


class Journal(Protocol):
    """Hears what happens to a mirror. The order of the calls matters; between two calls all is consistent."""

    def held(self, rows: Sequence[Row], cursor: str) -> None:
        """These rows wait to be shown, and the cursor moved to here."""

    def showed(self, rows: Sequence[Row], synced_at: datetime | None, *, replaced: bool) -> None:
        """These rows are shown now, in place of all others if `replaced`; nothing is held any more."""

    def refetching(self) -> None:
        """There is no cursor and nothing held; the next time that something is shown, it replaces all."""

    def acked(self, row_id: RowId, offset: int) -> None:
        """An own write stands at this offset."""


class Mirror:
    """`rows`: what the server has. `cursor`: up to where rows arrived. `synced_at`: server time when all was shown."""

    def __init__(self, remembered: Remembered | None = None, journal: Journal | None = None) -> None:
        known = remembered or Remembered()
        self.rows: dict[tuple[str, str], Row] = {row.id: row for row in known.rows}
        self.cursor = known.cursor
        self.synced_at = known.synced_at
        self._removed = known.removed  # offsets of tombstones, so that a resent older put stays dead
        self._acked = known.acked  # offsets of own writes whose change has not come back yet
        self._held: dict[RowId, Row] = {row.id: row for row in known.held}
        self._refetching = known.refetching
        self._journal = journal
        self.lost: Callable[[], None] = lambda: None  # called when offsets may be of another log from now on

    @property
    def shown(self) -> Mapping[tuple[str, str], Row]:
        """What an app sees; here the server's rows themselves."""
        return self.rows

    @property
    def complete(self) -> bool:
        """Whether `rows` is all that there is up to `cursor`."""
        return self.cursor is not None and not self._held and not self._refetching

    def begin(self) -> None:
        """A catch-up begins: what the server has acked by now, it will have shown at the end."""

    def hold(self, rows: Iterable[Row], cursor: str) -> None:
        """Take a page without showing it; `cursor` is where it ends."""
        news = []
        for row in rows:
            held = self._held.get(row.id)
            if held is None or held.offset < row.offset:
                self._held[row.id] = row
                news.append(row)
        if self._journal is not None and (news or cursor != self.cursor):
            self._journal.held(news, cursor)
        self.cursor = cursor

    def show(self, received_at: datetime, synced_at: datetime | None = None) -> Sequence[Change]:
        """Show everything held, as one step; the news in it, by offset. `synced_at`: it is all that there is."""
        replaced = self._refetching
        changes = self._replace(received_at) if replaced else self._advance(received_at)
        if self._journal is not None:
            self._journal.showed(tuple(self._held.values()), synced_at, replaced=replaced)
        self._held.clear()
        self._refetching = False
        self.synced_at = synced_at or self.synced_at
        return changes

    def refetch(self) -> None:
        """Begin again from nothing behind the scenes; what is shown stays until the new copy is complete."""
        self.cursor = None
        self._held.clear()
        self._refetching = True
        if self._journal is not None:
            self._journal.refetching()
        self.lost()

    def saw(self, row_id: RowId, offset: int) -> None:
        """An ack told of this offset before the change itself arrived."""
        if offset > (self.base(row_id) or 0):
            self._acked[row_id] = offset
            if self._journal is not None:
                self._journal.acked(row_id, offset)

    def base(self, row_id: RowId) -> int | None:
        """The offset at which this client last saw the row (or its removal, or its own write); None if never.

        None too where all is being fetched again: an offset of another owner's log, or of one that was lost, would say
        that this client knew a row that it never saw.
        """
        if self._refetching:
            return None
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
