"""A cursor says "I hold everything up to here": epoch, channel and offset. Clients keep it as it is and never read it.

The channel's tag is a short hash of the owner, so that a device which changes its reader cannot resume with the cursor
of the one before. `began` is the floor that was in force when its holder began from nothing: of what was forgotten up
to there it never held anything, so it may page past that floor.
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Self

from syncserver.core.errors import Refetch

_MAX_CHARS = 80
_MAX_OFFSET = 2**63 - 1


@lru_cache(maxsize=65_536)
def channel_tag(owner: str) -> str:
    """Eight hex digits that stand for the owner's channel in a cursor."""
    return blake2b(owner.encode(), digest_size=4).hexdigest()


def text(epoch: str, owner: str, offset: int, began: int = 0) -> str:
    """What `str(Cursor.at(..))` gives, made at once: it stands twice in every frame of changes."""
    reached = f"{epoch}.{channel_tag(owner)}.{offset}"
    return f"{reached}.{began}" if offset < began else reached


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in one owner's log, of one epoch."""

    epoch: str
    channel: str
    offset: int
    began: int = 0

    @classmethod
    def at(cls, epoch: str, owner: str, offset: int, began: int = 0) -> Self:
        """The cursor of `owner` at `offset`; past the floor at which it began, it is like any other."""
        return cls(epoch, channel_tag(owner), offset, began if offset < began else 0)

    @classmethod
    def parse(cls, text: str) -> Self:
        """What `str(cursor)` wrote; raises Refetch("unreadable") for anything else."""
        parts = text.split(".") if len(text) <= _MAX_CHARS else []
        if len(parts) not in {3, 4}:
            raise Refetch("unreadable")
        return cls(parts[0], parts[1], *map(_offset, parts[2:]))

    def __str__(self) -> str:
        began = f".{self.began}" if self.began else ""
        return f"{self.epoch}.{self.channel}.{self.offset}{began}"

    def check(self, epoch: str, owner: str, floor: int, head: int) -> None:
        """Raise Refetch with its reason unless this cursor may be resumed on the owner's log."""
        if self.channel != channel_tag(owner):
            raise Refetch("owner")
        if self.epoch != epoch:
            raise Refetch("epoch")
        if self.offset > head:
            raise Refetch("ahead")
        if max(self.offset, self.began) < floor and self.offset != 0:
            raise Refetch("floor")


def _offset(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit()) or int(digits) > _MAX_OFFSET:
        raise Refetch("unreadable")
    return int(digits)
