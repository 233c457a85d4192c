"""One device's copy of its owner's rows, and the rules of the wire that every delivery must keep.

Whatever breaks a rule raises Wrong at once. What can only be judged with the whole history in hand (was anything
missing at a `ready`?) is written down for the audit.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from hashlib import sha256
from operator import xor
from typing import Any

Row = Mapping[str, Any]


class Wrong(Exception):
    """The server broke its word; says how."""


def offset(cursor: str) -> int:
    """The offset in a cursor: clients never read it, a checker does."""
    return int(cursor.split(".")[2])


def shown(row: Row) -> tuple[object, ...]:
    """What two deliveries of the same offset must agree in."""
    position = row["data"]["position"] if row["op"] == "put" else None
    return row["key"], row["op"], row["updated_at"], row["device_id"], position


@dataclass
class Seen:
    """Every offset that any device of one owner was shown, and which mutation was said to have made it."""

    rows: dict[int, tuple[object, ...]] = field(default_factory=dict)
    mutations: dict[int, str | None] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Another delivery; raises Wrong when an earlier one of this offset differs."""
        first = self.rows.setdefault(row["offset"], shown(row))
        if first != shown(row):
            raise Wrong(f"offset {row['offset']} was {first} and is {shown(row)}")
        self.mutations[row["offset"]] = row.get("mutation_id")


class Replica:
    """`rows` by key, tombstones included; `cursor` as the server gave it; `whole`: what it held when told so."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self.rows: dict[str, Row] = {}
        self.cursor: str | None = None
        self.moved = asyncio.Event()
        self.whole: dict[int, dict[str, int]] = {}
        self.deliveries = 0
        self.fetching = False
        self.story: deque[str] = deque(maxlen=60)

    def live(self) -> dict[str, tuple[object, ...]]:
        """The rows that are not removed."""
        return {key: (row["offset"], *shown(row)) for key, row in self.rows.items() if row["op"] == "put"}

    def digest(self) -> dict[str, object]:
        """The digest of the live rows, made as the protocol says."""
        live = [row for row in self.rows.values() if row["op"] == "put"]
        texts = [f"{row['resource']}\n{row['key']}\n{row['offset']}\n{row['updated_at']}" for row in live]
        hashes = [int.from_bytes(sha256(text.encode()).digest()[:8]) for text in texts]
        return {"rows": len(live), "xor": f"{reduce(xor, hashes, 0):016x}"}

    def forget(self) -> None:
        """Begin from nothing."""
        self.rows, self.cursor = {}, None

    def changes(self, start: str, to: str, rows: Sequence[Row], *, more: bool) -> None:
        """A frame or a page; raises Wrong for a gap, for offsets out of order, and for what was superseded before."""
        self.tell(f"changes {start}..{to} more={more} " + " ".join(f"{r['key']}@{r['offset']}" for r in rows))
        begun = offset(self.cursor) if self.cursor else 0
        if offset(start) != begun or (self.cursor and start.split(".")[:2] != self.cursor.split(".")[:2]):
            raise Wrong(f"a gap: the frame begins at {start}, the cursor is {self.cursor}")
        last = begun
        for row in rows:
            self._take(row, last, offset(to))
            last = row["offset"]
        if offset(to) < last:
            raise Wrong(f"the cursor goes back from {self.cursor} to {to}")
        self.cursor = to
        self.fetching = more
        self.moved.set()

    def _take(self, row: Row, last: int, to: int) -> None:
        held = self.rows.get(row["key"])
        if not last < row["offset"] <= to:
            raise Wrong(f"offset {row['offset']} stands after {last} in a frame that ends at {to}")
        if held and held["offset"] >= row["offset"]:
            raise Wrong(f"{row['key']} came at {row['offset']} after it had come at {held['offset']}")
        self._seen.add(row)
        self.rows[row["key"]] = row
        self.deliveries += 1

    def ready(self, cursor: str) -> None:
        """The server says that this device holds everything up to here; raises Wrong when it plainly does not."""
        self.tell(f"ready {cursor}")
        if offset(cursor) != (offset(self.cursor) if self.cursor else 0) or self.fetching:
            raise Wrong(f"ready at {cursor}, but the cursor is {self.cursor}, more={self.fetching}")
        self.cursor = cursor
        held = {key: row["offset"] for key, row in self.rows.items()}
        if self.whole.setdefault(offset(cursor), held) != held:
            raise Wrong(f"at {cursor} it held other rows before")
        self.moved.set()

    def tell(self, line: str) -> None:
        """Keep a line for the story of a failure."""
        self.story.append(line)
