"""Where logs end, kept in memory: who asks again and holds everything up to there is answered without a statement.

As with `kept`: what is known of an owner goes when its doorbell rings and before its own writes are acknowledged, and
all of it when doorbells may have been missed. While nobody listens for them, nothing is kept and nothing kept is used.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from syncserver.core.change import Page


@dataclass(frozen=True, slots=True)
class _End:
    cursor: str
    page: Page
    until: float


class Heads:
    """The ends of `most` logs at most, each for `fresh_s`; those that were read longest ago go first.

    `listening()`: whether doorbells are heard. `clock`: seconds that only go forward.
    """

    def __init__(
        self,
        listening: Callable[[], bool],
        clock: Callable[[], float],
        *,
        fresh_s: float = 60,
        most: int = 20_000,
    ) -> None:
        self._listening = listening
        self._clock = clock
        self._fresh_s = fresh_s
        self._most = most
        self._known: dict[str, _End] = {}
        self._read: dict[str, object] = {}

    def __len__(self) -> int:
        return len(self._known)

    def after(self, owner: str, cursor: str) -> Page | None:
        """The page without news that this cursor's holder gets; None where only reading can tell."""
        end = self._known.get(owner)
        if end is None or end.cursor != cursor or self._clock() >= end.until or not self._listening():
            return None
        return end.page

    @contextmanager
    def reading(self, owner: str) -> Iterator[Callable[[Page], None]]:
        """Around a read of this owner's log: gives what is called with the page that was found."""
        mark = self._read[owner] = object()
        until = self._clock() + self._fresh_s

        def found(page: Page) -> None:
            if self._read.get(owner) is mark and self._listening():
                self._keep(page, until)

        try:
            yield found
        finally:
            if self._read.get(owner) is mark:
                del self._read[owner]

    def drop(self, owner: str) -> None:
        """What is known of this owner, or is being read at this moment, may not be true any more."""
        self._known.pop(owner, None)
        self._read.pop(owner, None)

    def drop_all(self) -> None:
        """The same of every owner: doorbells may have been missed."""
        self._known.clear()
        self._read.clear()

    def _keep(self, page: Page, until: float) -> None:
        end = page._replace(since=page.head, until=page.head, changes=(), more=False, began=page.floor)
        self._known.pop(page.owner, None)
        self._known[page.owner] = _End(str(end.cursor_until), end, until)
        while len(self._known) > self._most:
            del self._known[next(iter(self._known))]
