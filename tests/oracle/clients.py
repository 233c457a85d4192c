"""A client of one owner's log: a cursor and a fold of its own, built from pages alone, that believes nothing else.

It says of every page whether a client could trust it, and at the head whether it holds exactly what is so.
"""

from collections.abc import Awaitable, Callable
from random import Random

from syncserver.core.change import Change, Page
from syncserver.core.cursor import Cursor
from syncserver.core.errors import Refetch
from tests.oracle.truth import Held, Place, Truth, difference, plain

Door = Callable[["Client", int], Awaitable[Page]]
"""Reads one page, of at most so many rows, for a client; raises Refetch."""


class Mismatch(Exception):
    """A client was led astray; says who, where and how."""


class Client:
    """Follows `owner`; `wanted`: only these resources (None: all). `limits`: the sizes of page that it asks for."""

    def __init__(self, number: int, owner: str, wanted: frozenset[str] | None, limits: range, chance: Random) -> None:
        self.name = f"client {number} of {owner}, {'all' if wanted is None else '+'.join(sorted(wanted)) or 'nothing'}"
        self.owner = owner
        self.wanted = wanted
        self.cursor: Cursor | None = None
        self._limits = limits
        self._chance = chance
        self._held: dict[Place, Held] = {}
        self._kept: tuple[Cursor | None, dict[Place, Held]] = (None, {})
        self.pages = 0
        self.refused = 0

    @property
    def offset(self) -> int:
        """How far it has read."""
        return self.cursor.offset if self.cursor else 0

    def disturb(self) -> None:
        """Now and then a client starts from nothing, goes back to an old copy of itself, or keeps such a copy."""
        luck = self._chance.random()
        if luck < 0.03:
            self.forget()
        elif luck < 0.06:
            self.cursor, self._held = self._kept[0], dict(self._kept[1])
        elif luck < 0.12:
            self._kept = (self.cursor, dict(self._held))

    def forget(self) -> None:
        """Drop everything; the next page is the first."""
        self.cursor, self._held = None, {}

    async def follow(self, door: Door, pages: int) -> None:
        """Read so many pages at most, each whenever it comes, up to the head."""
        more = True
        while more and pages:
            more = await self._step(door)
            pages -= 1

    async def catch_up(self, door: Door) -> None:
        """Read up to the head in one snapshot, where the floor stands still: refused once at most."""
        refused, self.pages = self.refused, 0
        more = True
        while more:
            more = await self._step(door)
            if self.refused > refused + 1:
                raise self.astray("it began from nothing and was refused again in the same snapshot")

    async def _step(self, door: Door) -> bool:
        limit = self._chance.choice(self._limits)
        try:
            page = await door(self, limit)
        except Refetch as refusal:
            self.refuse(refusal)
            return True
        self.take(page, limit)
        return page.more

    def refuse(self, refusal: Refetch) -> None:
        """It was told to begin again, which happens only below the floor."""
        if refusal.reason != "floor" or self.cursor is None:
            raise self.astray(f"it was refused for the reason {refusal.reason!r}")
        self.refused += 1
        self.forget()

    def take(self, page: Page, limit: int) -> None:
        """Check a page and apply it."""
        self.pages += 1
        if (page.owner, page.since) != (self.owner, self.offset):
            raise self.astray(f"its page is of {page.owner} after {page.since}")
        if len(page.changes) > limit or (page.more and len(page.changes) < limit):
            raise self.astray(f"a page of {len(page.changes)} rows, at most {limit} asked for, more: {page.more}")
        last = self.offset
        for change in page.changes:
            if not last < change.offset <= page.until:
                raise self.astray(
                    f"{change.resource} {change.key} at {change.offset}, after {last}, until {page.until}"
                )
            last = change.offset
            self._apply(change)
        if not last <= page.until <= page.head or (not page.more and page.until != page.head):
            raise self.astray(f"a page until {page.until}, head {page.head}, more: {page.more}")
        self.cursor = page.cursor_until

    def _apply(self, change: Change) -> None:
        place = (change.resource, change.key)
        if self.wanted is not None and change.resource not in self.wanted:
            raise self.astray(f"it never asked for {change.resource}")
        if (change.op == "put") != (change.data is not None):
            raise self.astray(f"{change.resource} {change.key} at {change.offset}: a {change.op} with {change.data}")
        if change.data is None:
            self._held.pop(place, None)
        else:
            row = plain(change.resource, change.data)
            self._held[place] = Held(change.offset, row, change.updated_at, change.device_id)

    def compare(self, truth: Truth) -> None:
        """Having read up to the head of a snapshot, it holds what that snapshot holds; else raises Mismatch."""
        if self.offset != truth.head:
            raise self.astray(f"the head is {truth.head}")
        if truth.hidden:
            raise self.astray(f"head {truth.head}, floor {truth.floor}: {truth.hidden[0]}")
        wrong = difference(self._held, truth.of(self.wanted))
        if wrong:
            raise self.astray(f"head {truth.head}, floor {truth.floor}: {wrong}")

    def astray(self, how: str) -> Mismatch:
        """What is wrong with this client."""
        return Mismatch(f"{self.name}, cursor {self.cursor or 'none'}: {how}")
