"""What the log says: one entry with the row's present state, and a page of them from one snapshot.

`data` is JSON text exactly as PostgreSQL wrote it; nothing between the database and the socket reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Op = Literal["put", "remove"]


@dataclass(frozen=True, slots=True)
class Change:
    """One entry: the row `key` of `resource` got this state at `offset`. `data` is None for a removal."""

    resource: str
    key: str
    offset: int
    op: Op
    updated_at: datetime
    device_id: str | None
    data: str | None
    mutation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Changes of one owner after `since` up to `until`, in order of offset, with the log's bounds in that snapshot.

    `more` says that entries beyond `until` were there; without it, `until` is the head.
    """

    owner: str
    epoch: str
    since: int
    until: int
    floor: int
    head: int
    changes: Sequence[Change]
    more: bool
