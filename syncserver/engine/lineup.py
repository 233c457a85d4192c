"""Who waits for a batch: each owner's mutations in their order, and of no owner in two batches at once.

Owners take turns: one whose mutations are in a batch stands at the end again once that is answered.
"""

from collections import deque
from collections.abc import Callable, Iterable

from syncserver.engine.aside import Waiting


class Lineup:
    """What is queued. An owner of what was `taken` is left out until it is `back`."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[Waiting]] = {}
        self._ready: dict[str, None] = {}
        self._out: set[str] = set()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def ready(self) -> bool:
        """Whether there is anything that may be taken now."""
        return bool(self._ready)

    def add(self, waiting: Iterable[Waiting]) -> None:
        """They stand behind what is queued of the same owner."""
        for one in waiting:
            owner = one.item.sender.owner
            self._size += 1
            lane = self._lanes.get(owner)
            if lane is None:
                self._lanes[owner] = deque([one])
                if owner not in self._out:
                    self._ready[owner] = None
            else:
                lane.append(one)

    def taken(self, most: int) -> list[Waiting]:
        """The next ones, at most so many; their owners are out until they are `back`."""
        found: list[Waiting] = []
        while self._ready and len(found) < most:
            owner = next(iter(self._ready))
            del self._ready[owner]
            self._out.add(owner)
            lane = self._lanes[owner]
            found += [lane.popleft() for _ in range(min(most - len(found), len(lane)))]
            if not lane:
                del self._lanes[owner]
        self._size -= len(found)
        return found

    def back(self, taken: Iterable[Waiting]) -> None:
        """These were answered, or put aside: what is left of their owners may be taken."""
        for owner in {one.item.sender.owner for one in taken}:
            self._out.discard(owner)
            if owner in self._lanes:
                self._ready[owner] = None

    def without(self, owner: str, gone: Callable[[Waiting], bool] = lambda _: True) -> list[Waiting]:
        """It goes on without those of this owner that are to go; which, in order."""
        lane = self._lanes.pop(owner, deque())
        stay = deque(one for one in lane if not gone(one))
        if stay:
            self._lanes[owner] = stay
        else:
            self._ready.pop(owner, None)
        self._size -= len(lane) - len(stay)
        return [one for one in lane if gone(one)]

    def all(self) -> list[Waiting]:
        """Everything that is queued; then nothing is."""
        found = [one for lane in self._lanes.values() for one in lane]
        self._lanes.clear()
        self._ready.clear()
        self._size = 0
        return found
