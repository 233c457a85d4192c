"""What a channel publishes: a page of its log, encoded once for each set of resources that somebody asked for."""

from syncserver.core import encode
from syncserver.core.change import Page

Wanted = frozenset[str] | None
"""The resources that a subscription asked for; None: all."""


class News:
    """One page on its way to every subscription of a channel."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._frames: dict[Wanted, bytes] = {}

    def frame(self, wanted: Wanted) -> bytes:
        """The `changes` frame with the rows of these resources."""
        frame = self._frames.get(wanted)
        if frame is None:
            rows = [c for c in self.page.changes if wanted is None or c.resource in wanted]
            frame = self._frames[wanted] = encode.changes(self.page, rows)
        return frame
