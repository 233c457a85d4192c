"""A cursor says "I hold everything up to here": epoch, channel and offset. Clients keep it as it is and never read it.

The channel's tag is a short hash of the owner, so that a device which changes its reader cannot resume
with the cursor of the one before.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

from syncserver.core.errors import Refetch

_MAX_CHARS = 80
_MAX_OFFSET = 2**63 - 1


def channel_tag(owner: str) -> str:
    """Eight hex digits that stand for the owner's channel in a cursor."""
    return blake2b(owner.encode(), digest_size=4).hexdigest()


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in one owner's log, of one epoch."""

    epoch: str
    channel: str
    offset: int

    @classmethod
    def at(cls, epoch: str, owner: str, offset: int) -> Self:
        """The cursor of `owner` at `offset`."""
        return cls(epoch, channel_tag(owner), offset)

    @classmethod
    def parse(cls, text: str) -> Self:
        """What `str(cursor)` wrote; raises Refetch("unreadable") for anything else."""
        parts = text.split(".") if len(text) <= _MAX_CHARS else []
        if len(parts) != 3 or not (parts[2].isascii() and parts[2].isdigit()) or int(parts[2]) > _MAX_OFFSET:  # noqa: PLR2004 - its three parts
            raise Refetch("unreadable")
        return cls(parts[0], parts[1], int(parts[2]))

    def __str__(self) -> str:
        return f"{self.epoch}.{self.channel}.{self.offset}"

    def check(self, epoch: str, owner: str, floor: int, head: int) -> None:
        """Raise Refetch with its reason unless this cursor may be resumed on the owner's log."""
        if self.channel != channel_tag(owner):
            raise Refetch("owner")
        if self.epoch != epoch:
            raise Refetch("epoch")
        if self.offset > head:
            raise Refetch("ahead")
        if self.offset < floor and self.offset != 0:
            raise Refetch("floor")
