"""What a channel publishes: a page of its log, encoded once for each set of resources that somebody asked for."""

from dataclasses import replace

from syncserver.core import encode
from syncserver.core.change import Page

Wanted = frozenset[str] | None
"""The resources that a subscription asked for; None: all."""


class News:
    """One page on its way to every subscription of a channel."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._frames: dict[Wanted, bytes] = {}

    def frame(self, wanted: Wanted, after: int) -> bytes:
        """The `changes` frame with the rows of these resources; for one who read on by itself, only what is left."""
        if after != self.page.since:
            return _encoded(replace(self.page, since=after), wanted)
        frame = self._frames.get(wanted)
        if frame is None:
            frame = self._frames[wanted] = _encoded(self.page, wanted)
        return frame


def _encoded(page: Page, wanted: Wanted) -> bytes:
    return encode.changes(
        page, [c for c in page.changes if c.offset > page.since and (wanted is None or c.resource in wanted)]
    )
