"""How many rows an owner may have. An insertion past that is refused, and stands in nobody's way.

Every change has an offset of its own, so an owner whose newest is below the limit cannot be over it: most owners are
never counted. Who is counted is counted once in a while: in between, what is inserted here takes room and what is
removed here gives it; what other writers do is seen at the next count.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.errors import OverQuota
from syncserver.storage import changes, room

_KEPT = 10_000


@dataclass(slots=True)
class _Room:
    """`rows`: how many more there may be. `counted`: exactly, else at least."""

    rows: int
    counted: bool
    until: float


class Quota:
    """`rows_per_owner` 0: no limit. `clock`: seconds that only go forward; `keep_s`: how long a count is believed."""

    def __init__(
        self, rows_per_owner: int = 0, clock: Callable[[], float] = lambda: 0.0, *, keep_s: float = 60
    ) -> None:
        self._limit = rows_per_owner
        self._clock = clock
        self._keep_s = keep_s
        self._rooms: OrderedDict[str, _Room] = OrderedDict()

    def begin(self) -> "Tally":
        """The account of one transaction."""
        return Tally(self)

    async def look(self, connection: AsyncConnection, more: Counter[str], own: Counter[str]) -> None:
        """Know of each owner whether there is room for so many more rows than the transaction has of its `own`."""
        if not self._limit:
            return
        wanted = {owner: number + own[owner] for owner, number in more.items()}
        unknown = [owner for owner, number in wanted.items() if not self._enough(owner, number)]
        if not unknown:
            return
        newest = await changes.newest(connection, unknown)
        full = [owner for owner in unknown if self._limit - newest.get(owner, 0) < more[owner]]
        present = await room.rows(connection, full, self._limit) if full else {}
        until = self._clock() + self._keep_s
        for owner in unknown:
            rows = present.get(owner, newest.get(owner, 0)) - own[owner]
            self._keep(owner, _Room(self._limit - rows, owner in present, until))

    def left(self, owner: str) -> int | None:
        """How many more rows this owner may have, as far as `look` knows; None for any number."""
        found = self._rooms.get(owner) if self._limit else None
        return found.rows if found else None

    def moved(self, rows: Counter[str]) -> None:
        """So many rows more (or fewer) were committed."""
        for owner, number in rows.items():
            if owner in self._rooms:
                self._rooms[owner].rows -= number

    def _enough(self, owner: str, number: int) -> bool:
        """Whether what is known will do: there is room, or it was counted a moment ago that there is none."""
        found = self._rooms.get(owner)
        return found is not None and self._clock() < found.until and (found.rows >= number or found.counted)

    def _keep(self, owner: str, found: _Room) -> None:
        self._rooms[owner] = found
        self._rooms.move_to_end(owner)
        while len(self._rooms) > _KEPT:
            self._rooms.popitem(last=False)


class Tally:
    """What one transaction inserts and removes; it counts once that is committed, so a transaction may be replayed."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._rows: Counter[str] = Counter()

    async def look(self, connection: AsyncConnection, owners: Collection[str]) -> None:
        """Before `insert`: one owner for each row that may be inserted."""
        await self._quota.look(connection, Counter(owners), self._rows)

    def insert(self, owner: str) -> None:
        """One more row of this owner; raises OverQuota."""
        left = self._quota.left(owner)
        if left is not None and self._rows[owner] >= left:
            raise OverQuota("This reader has as many rows as one may have: remove some first.")
        self._rows[owner] += 1

    def remove(self, owner: str) -> None:
        """One row less."""
        self._rows[owner] -= 1

    def committed(self) -> None:
        """It is so."""
        self._quota.moved(self._rows)
