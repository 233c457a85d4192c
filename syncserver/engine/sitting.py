"""The inside of a transaction that holds whole or not at all: chunk after chunk is judged, every refusal is noted.

A chunk is judged as a batch of a push is. What was refused is told by its place among all that were read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import clock
from syncserver.core.errors import Invalid, NotWhole, SyncError
from syncserver.engine import batch
from syncserver.engine.decide import Ack, Item, Refused, Sender, duplicate, read, refused, rejected
from syncserver.engine.dependencies import Known
from syncserver.engine.effects import Books
from syncserver.storage import mutations, temporary

Raw = Mapping[str, Any]
Placed = tuple[int, Item | Refused]
"""A mutation, and its place among all."""

_DONE = frozenset({"applied", "merged"})
_TAKEN = Invalid("Its id is that of another mutation.", [{"pointer": "/mutation_id", "detail": "of another one"}])


@dataclass
class Sitting:
    """One transaction's judging, for one sender. `ledger`: whether the answers are kept for those who ask again.

    `number`: how many mutations were read, and `at` when the last of them was. `before`: the places of those that an
    earlier transaction had answered. `refusals`: of each, its place, its code and what else an ack says of it.
    """

    connection: AsyncConnection
    sender: Sender
    books: Books
    now: Callable[[], datetime]
    ledger: bool
    number: int = 0
    at: datetime | None = None
    before: list[int] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)

    def read(self, raws: Sequence[Raw]) -> list[Placed]:
        """The next mutations, each a little later than the one before: what is ordered by time keeps their order.

        What cannot be is refused in its turn, so that what depends on it is told why.
        """
        found: list[Placed] = []
        for place, raw in enumerate(raws, self.number):
            item: Item | Refused | None
            try:
                item = read(self.sender, raw, self.books.catalog, self._later())
            except SyncError as error:
                item = refused(self.sender, raw, error)
                if item is None:
                    self._refuse(place, rejected(None, error))
            if item is not None:
                found.append((place, item))
        self.number += len(raws)
        return found

    async def known(self, placed: Sequence[Placed]) -> Known:
        """What is known of these, and of what they name."""
        return await Known.read(self.connection, [item for _, item in placed])

    async def judge(self, placed: Sequence[Placed], known: Known) -> list[Ack]:
        """Judge and write these, but for those that were answered before: their answers, in order."""
        again = {item.name for _, item in placed if item.name in known.answers}
        first: dict[mutations.Name, int] = {}
        for place, item in placed:
            if item.name in again:
                self.before.append(place)
            elif first.setdefault(item.name, place) != place:
                self._refuse(place, rejected(item.name[2], _TAKEN))
        fresh = [item for place, item in placed if first.get(item.name) == place]
        await self._write(fresh, known)
        for name, place in first.items():
            if known.answers[name]["status"] not in _DONE:
                self._refuse(place, known.answers[name])
        acks = ((item.name in again, known.answers[item.name]) for _, item in placed)
        return [duplicate(ack) if is_again else ack for is_again, ack in acks]

    def close(self) -> None:
        """Raise NotWhole where any was refused, or is known while others are not: nothing may be kept then."""
        if self.before and len(self.before) != self.number:
            for place in self.before:
                self._refuse(place, rejected(None, _TAKEN))
        if self.refusals:
            raise NotWhole(sorted(self.refusals, key=lambda refusal: int(refusal["place"])), self.number)

    def _later(self) -> datetime:
        now = self.now()
        self.at = now if self.at is None else max(now, self.at + clock.TICK)
        return self.at

    async def _write(self, fresh: Sequence[Item | Refused], known: Known) -> None:
        if not fresh:
            return
        answers = await batch.judge(self.connection, fresh, known, self.books)
        if answers and self.ledger:
            await mutations.record(self.connection, answers)
        if known.became:
            await temporary.keep(self.connection, list(known.became.values()))

    def _refuse(self, place: int, ack: Ack) -> None:
        said: dict[str, Any] = {name: ack[name] for name in ("errors", "row") if name in ack}
        code, detail = ack.get("code", "superseded"), ack.get("detail", "A newer write won.")
        self.refusals.append({"place": place, "code": code, "detail": detail, **said})
