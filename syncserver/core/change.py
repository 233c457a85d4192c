"""What the log says: one entry with the row's present state, and a page of them from one snapshot.

`data` is JSON text exactly as PostgreSQL wrote it; nothing between the database and the socket reads it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from syncserver.core.cursor import Cursor

Op = Literal["put", "remove"]


class Change(NamedTuple):
    """One entry: the row `key` of `resource` got this state at `offset`. `data` is None for a removal.

    `mutation_id` and `claimed_at` (the stamp as the device claimed it, where it was changed) are the ledger's.
    """

    resource: str
    key: str
    offset: int
    op: Op
    updated_at: datetime
    device_id: str | None
    data: str | None
    mutation_id: str | None = None
    claimed_at: datetime | None = None


class Page(NamedTuple):
    """Changes of one owner after `since` up to `until`, in order of offset, with the log's bounds in that snapshot.

    `more` says that entries beyond `until` were there; without it, `until` is the head. `began`: see Cursor.
    """

    owner: str
    epoch: str
    since: int
    until: int
    floor: int
    head: int
    changes: Sequence[Change]
    more: bool
    began: int = 0

    @property
    def cursor_since(self) -> Cursor:
        """Where its reader is before this page."""
        return Cursor.at(self.epoch, self.owner, self.since, self.began)

    @property
    def cursor_until(self) -> Cursor:
        """Where its reader is after it."""
        return Cursor.at(self.epoch, self.owner, self.until, self.began)
