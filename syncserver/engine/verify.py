"""Comparing what a client holds with what the log says it should: by digest, at the head, in one snapshot.

A difference is never repaired row by row: the client is told to fetch everything again, and the mismatch is counted.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from syncserver.core import encode, frames, protocol
from syncserver.core.cursor import Cursor
from syncserver.core.errors import Invalid, Refetch
from syncserver.core.values import Digest
from syncserver.storage import digests
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog

log = logging.getLogger(__name__)

Outcome = Literal["same", "moved"]


@dataclass
class Verifications:
    """How many verifications this process has answered, by what came of them."""

    verified: int = 0
    moved: int = 0
    mismatched: int = 0


class Asking(Protocol):
    """Who asks: all that matters is whose rows."""

    @property
    def owner(self) -> str: ...  # noqa: D102 - as the class says


class Verify:
    """The comparison, for at most `at_once` clients together. `counts` only grow, and belong to this process."""

    def __init__(self, database: Database, catalog: Catalog, *, at_once: int = 2) -> None:
        self._database = database
        self._catalog = catalog
        self._turn = asyncio.Semaphore(at_once)
        self.counts = Verifications()

    async def verb(self, guest: Asking, frame: frames.Verify) -> bytes:
        """What answers a `verify` frame; raises as `compare`."""
        outcome = await self.compare(guest.owner, frame.cursor, frame.digests)
        return encode.frame(frames.Verified(cursor=frame.cursor, outcome=outcome))

    async def compare(self, owner: str, cursor: str, held: Mapping[str, Digest], root: str = "") -> Outcome:
        """`same`, or `moved` where the cursor is not the head any more, so that nothing can be said.

        Raises Refetch with the cursor's reason or with `digest`, Invalid for resources that are not synced here (their
        pointers begin with `root`), Unavailable.
        """
        self._all_known(held, root)
        at = Cursor.parse(cursor)
        async with self._turn, self._database.transaction([owner]) as connection:
            found = await digests.of(connection, owner, held)
        at.check(found.epoch, owner, found.floor, found.head)
        if at.offset != found.head:
            self.counts.moved += 1
            return "moved"
        different = [name for name in held if held[name] != found.digests[name]]
        if different:
            self.counts.mismatched += 1
            log.warning("a client's rows differ from the log: %s", _told(different, held, found.digests))
            raise Refetch("digest")
        self.counts.verified += 1
        return "same"

    def _all_known(self, held: Mapping[str, Digest], root: str) -> None:
        unknown = [name for name in held if name not in self._catalog]
        if unknown:
            detail = f"not synced here; there are: {', '.join(self._catalog)}"
            places = [{"pointer": root + protocol.pointer(("digests", name)), "detail": detail} for name in unknown]
            raise Invalid(f"{len(unknown)} of these resources are {detail}.", places)


def _told(names: list[str], held: Mapping[str, Digest], logged: Mapping[str, Digest]) -> str:
    """Names and numbers of rows, for the server's log: nothing of whose they are or what they say."""
    return ", ".join(f"{name} ({held[name].rows} rows, {logged[name].rows} in the log)" for name in names)
