"""What a channel publishes: pages of its log, encoded once for each set of resources that somebody asked for.

A form is how a kind of wire carries a frame, so that one may follow the other; it is made once, too.
"""

from collections.abc import Callable, Sequence

from syncserver.core import encode
from syncserver.core.change import Page

Wanted = frozenset[str] | None
"""The resources that a subscription asked for; None: all."""

Form = Callable[[bytes], bytes]


def plain(frame: bytes) -> bytes:
    """The form that is the frame itself."""
    return frame


class News:
    """Pages that follow each other, from offset `since` to `until`, on their way to every subscription of a channel."""

    __slots__ = ("_frames", "_pages", "since", "until")

    def __init__(self, pages: Sequence[Page]) -> None:
        self._pages = pages
        self.since = pages[0].since
        self.until = pages[-1].until
        self._frames: dict[tuple[Wanted, Form], bytes] = {}

    def frames(self, wanted: Wanted, after: int, form: Form = plain) -> bytes:
        """The `changes` frames with the rows of these resources; for one who read on by itself, only what is left."""
        if after != self.since:
            return b"".join(form(_encoded(page, wanted, after)) for page in self._pages if page.until > after)
        name = (wanted, form)
        frames = self._frames.get(name)
        if frames is None:
            frames = self._frames[name] = b"".join([form(_encoded(page, wanted, after)) for page in self._pages])
        return frames


def _encoded(page: Page, wanted: Wanted, after: int) -> bytes:
    if after > page.since:
        page = page._replace(since=after, changes=[c for c in page.changes if c.offset > after])
    rows = page.changes if wanted is None else [c for c in page.changes if c.resource in wanted]
    return encode.changes(page, rows)
