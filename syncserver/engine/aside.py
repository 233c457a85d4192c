"""Owners whose lock somebody else holds: what they sent waits aside, in its order, while everybody else's goes on.

One or two connections wait for the locks themselves, and so in the order of the database: for one owner, or for a short
time for all that were found busy at once. Who has no turn asks again after a pause, with the next batch. Either way
what comes stands behind what came before, until that is answered; so nothing of an owner overtakes anything of it.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from syncserver.core.errors import Unavailable
from syncserver.engine.decide import Ack, Item, Refused, deferred

log = logging.getLogger(__name__)
AWAY = Unavailable("The database does not answer; nothing was changed, send it again.")
BUSY = Unavailable("Another write of this reader takes long; nothing was changed, send it again.")
_TURN_S = 5.0
"""How long one wait for a lock may take: then another owner may have the connection."""
_TOGETHER_S = 0.1
"""The same for several owners: one that is busy for long would hold up the others."""
_FEW = 10
_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.5


@dataclass(eq=False, slots=True)
class Pushed:
    """What was sent together: its answers, in order, as far as they are known; `all` is done with the last of them."""

    answers: list[Any]
    missing: int
    all: asyncio.Future[list[Ack]]

    def know(self, place: int, ack: Ack) -> None:
        """One more; whoever asked may be gone."""
        self.answers[place] = ack
        self.missing -= 1
        if not self.missing and not self.all.done():
            self.all.set_result(self.answers)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A mutation, and its place in what was sent with it."""

    item: Item | Refused
    pushed: Pushed
    place: int

    def tell(self, ack: Ack) -> None:
        """Here is its answer."""
        self.pushed.know(self.place, ack)


@dataclass(slots=True)
class _Busy:
    """An owner that was found busy, and never free since. `pauses` that it made; `turned`: it waited for the lock."""

    until: float
    pauses: int = 0
    turned: bool = False

    def pause_s(self) -> float:
        """Longer each time, and never the same for two."""
        self.pauses += 1
        longest = min(_LONGEST_PAUSE_S, _PAUSE_S * 2.0 ** min(self.pauses, 10))
        return random.uniform(longest / 2, longest)  # noqa: S311 - a pause, not a secret


class Aside:
    """The lanes of all busy owners.

    `commit(items, wait_s)` is the write door's: it waits so long for the lock, and what it does not answer is of owners
    that are busy still. `answer(waiting, acks)` tells, frees or puts aside again; `queue(waiting)` lines up for a
    batch. `busy_s`: after that an owner's mutations are deferred. `waiters`: how many wait for a lock at once. `batch`:
    mutations of a commit. `most`: with so many in its lane, an owner's next push is deferred at once.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Item | Refused], float], Awaitable[Sequence[Ack | None]]],
        answer: Callable[[Sequence[Waiting], Sequence[Ack | None]], None],
        queue: Callable[[Iterable[Waiting]], None],
        *,
        batch: int,
        busy_s: float,
        waiters: int,
        most: int,
    ) -> None:
        self._commit = commit
        self._answer = answer
        self._queue = queue
        self._batch = batch
        self._busy_s = busy_s
        self._waiters = waiters
        self._most = most
        self._busy: dict[str, _Busy] = {}
        self._lanes: dict[str, deque[Waiting]] = {}
        self._pauses: dict[str, asyncio.TimerHandle] = {}
        self._turns: set[asyncio.Task[None]] = set()

    def full(self, owner: str) -> bool:
        """Whether no more of this owner may wait."""
        return len(self._lanes.get(owner, ())) >= self._most

    def joined(self, waiting: Waiting) -> bool:
        """Whether the owner of this one is aside; then it stands there now, as the last."""
        lane = self._lanes.get(waiting.item.sender.owner)
        if lane is not None:
            lane.append(waiting)
        return lane is not None

    def put(self, found: Mapping[str, Iterable[Waiting]]) -> None:
        """These owners were found busy: what is given stands first in their lanes; deferred if that lasts too long."""
        now = asyncio.get_running_loop().time()
        room, turns = len(self._turns) < self._waiters, dict[str, float]()
        for owner, first in found.items():
            busy = self._busy.setdefault(owner, _Busy(now + self._busy_s))
            lane = deque([*first, *self._lanes.pop(owner, ())])
            left_s = busy.until - now
            if left_s <= 0:
                self._answer(lane, [deferred(waiting.item, BUSY) for waiting in lane])
                continue
            self._lanes[owner] = lane
            busy.turned = room and not busy.turned
            if busy.turned:
                turns[owner] = left_s
            else:
                self._pauses[owner] = asyncio.get_running_loop().call_later(
                    min(left_s, busy.pause_s()), self._ask, owner
                )
        if turns:
            self._begin(list(turns), min(*turns.values(), _TURN_S if len(turns) == 1 else _TOGETHER_S))

    def _begin(self, owners: Sequence[str], wait_s: float) -> None:
        turn = asyncio.create_task(self._turn(owners, wait_s))
        self._turns.add(turn)
        turn.add_done_callback(self._turns.discard)

    def free(self, owner: str) -> None:
        """The owner had its turn: what is left in its lane lines up again."""
        self._busy.pop(owner, None)
        lane = self._lanes.pop(owner, None)
        if lane:
            self._queue(lane)

    async def end(self) -> None:
        """Nobody is aside any more: what was there lines up again, or is answered."""
        while self._turns:
            turns = list(self._turns)
            for turn in turns:
                turn.cancel()
            await asyncio.gather(*turns, return_exceptions=True)
        for pause in self._pauses.values():
            pause.cancel()
        self._pauses.clear()
        for owner in list(self._lanes):
            self.free(owner)

    def _ask(self, owner: str) -> None:
        """A few of its mutations go along with the next batch; the rest waits for their answer."""
        del self._pauses[owner]
        self._queue(self._first(owner, _FEW))

    async def _turn(self, owners: Sequence[str], wait_s: float) -> None:
        """Wait for the locks, and commit what came first."""
        share = max(1, self._batch // len(owners))
        first = [waiting for owner in owners for waiting in self._first(owner, share)]
        answers: Sequence[Ack | None] = [deferred(waiting.item, AWAY) for waiting in first]
        try:
            answers = await self._commit([waiting.item for waiting in first], wait_s)
        except Exception:
            log.exception("a write that waited aside failed")
        finally:
            self._turns.discard(asyncio.current_task())  # its place is free before anybody is put aside again
            self._answer(first, answers)

    def _first(self, owner: str, most: int) -> list[Waiting]:
        lane = self._lanes[owner]
        return [lane.popleft() for _ in range(min(most, len(lane)))]
