"""One import as it runs: read and checked, then written in one transaction; its row says again and again how far it is.

Whatever ends it before its transaction is committed, nothing of it is kept. The row says `done` from that transaction
on, so that it is true even where nobody hears of it.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.csv_rows import Problem
from syncserver.core.errors import Invalid, NotWhole, RateLimited, SyncError, Unavailable
from syncserver.engine.checking import Bounds, Checking, Upload
from syncserver.engine.decide import Sender
from syncserver.engine.plan import Plan
from syncserver.engine.quota import Quota
from syncserver.engine.whole import CHUNK, Whole
from syncserver.storage import imports
from syncserver.storage.database import Contention, Database
from syncserver.storage.imports import Name
from syncserver.storage.resource import Catalog

log = logging.getLogger(__name__)
_READINGS = 3
_WORDS = 5
CANCELLED = "It was cancelled; nothing of it was kept."
STOPPED = "The server stopped before it was through; nothing of it was kept. Send it again."
_BUSY = "Other writers were in the way for too long; nothing of it was kept. Send it again."
_NO_ROOM = "The server has no room for it just now; nothing of it was kept. Send it again later."
_FAULT = "The server made a mistake; its log says which. Nothing of it was kept."


@dataclass(frozen=True)
class Doors:
    """What an import goes through."""

    database: Database
    catalog: Catalog
    quota: Quota
    whole: Whole


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for. `replace`: rows that are there are written over. `dry_run`: nothing is written."""

    sender: Sender
    uploads: Sequence[Upload]
    replace: bool
    dry_run: bool


class Importing:
    """One of them. `run` it to its end; it says each `beat_s` how far it is, and hears whether it is to end."""

    def __init__(self, doors: Doors, name: Name, wish: Wish, *, bounds: Bounds, beat_s: float) -> None:
        self._doors = doors
        self._name = name
        self._wish = wish
        self._bounds = bounds
        self._beat_s = beat_s
        self._checking: Checking | None = None
        self._work: asyncio.Task[str] | None = None
        self._ended_by = STOPPED
        self._phase = "reading"
        self._written = 0
        self._problems: list[Problem] = []
        self._detail: str | None = None
        self._retry = False

    def report(self) -> dict[str, Any]:
        """How it stands."""
        checking = self._checking
        counts = checking.counts if checking is not None else {}
        return {
            "dry_run": self._wish.dry_run,
            "existing": "replace" if self._wish.replace else "refuse",
            "phase": self._phase,
            "rows_read": checking.records if checking is not None else 0,
            "rows_written": self._written,
            "rows": checking.plan.steps if checking is not None and self._phase != "reading" else None,
            "nodes": counts.get("nodes", 0),
            "components": counts.get("node_components", 0),
            "relationships": counts.get("session_relationships", 0),
            "removed": counts.get("removed", 0),
            "errors": [problem.as_json() for problem in self._problems],
            "more_errors": checking is not None and checking.faults.more,
            "detail": self._detail,
            "retry": self._retry,
        }

    def end(self, why: str) -> None:
        """End it, if it is not through yet: CANCELLED or STOPPED."""
        self._ended_by = why
        if self._work is not None:
            self._work.cancel()

    async def run(self) -> None:
        """Do it. Whatever happens is in its row, unless the database is away for longer than somebody waits."""
        self._work = asyncio.create_task(self._reported())
        try:
            while not (await asyncio.wait({self._work}, timeout=self._beat_s))[0]:
                await self._beat()
            state = await self._work
        finally:
            self._work.cancel()
            self.close()
        await self._say(state)

    def close(self) -> None:
        """Its files are wanted no more."""
        for upload in self._wish.uploads:
            upload.file.close()

    # -- its row -------------------------------------------------------------

    async def _beat(self) -> None:
        try:
            async with self._doors.database.transaction([self._name.owner]) as connection:
                asked = await imports.beat(connection, self._name, self.report())
        except (SyncError, Contention):
            return  # the work itself will notice
        if asked is not False:
            self.end(CANCELLED)

    async def _say(self, state: str) -> None:
        """Have the row say how it ended. One that says so already was right: it was written with what was imported."""
        for word in range(_WORDS):
            try:
                async with self._doors.database.transaction([self._name.owner]) as connection:
                    await imports.end(connection, self._name, state, self.report())
            except (SyncError, Contention):
                await asyncio.sleep(self._beat_s * word)
            else:
                return
        log.warning("the end of an import could not be noted: the database does not answer")

    async def _done(self, connection: AsyncConnection) -> None:
        """In the transaction that keeps what was imported; raises Unavailable where its session has gone."""
        self._phase = "done"
        if not await imports.end(connection, self._name, "done", self.report()):
            raise Unavailable("It does not count as running any more; nothing of it was kept.")

    # -- the work ------------------------------------------------------------

    async def _reported(self) -> str:
        """The state in which it ends; the report says the rest."""
        try:
            return await self._through()
        except asyncio.CancelledError:
            self._failed(self._ended_by, retry=self._ended_by == STOPPED)
            return "cancelled" if self._ended_by == CANCELLED else "failed"
        except Contention:
            self._failed(_BUSY, retry=True)
        except Invalid as error:
            self._failed(error.detail, retry=False)
            return "refused"
        except SyncError as error:
            self._failed(error.detail, retry=isinstance(error, Unavailable | RateLimited))
        except (MemoryError, OSError):
            log.exception("there was no room for an import")
            self._failed(_NO_ROOM, retry=True)
        except Exception:
            log.exception("an import ended by a fault")
            self._failed(_FAULT, retry=False)
        return "failed"

    def _failed(self, detail: str, *, retry: bool) -> None:
        self._detail, self._retry = detail, retry

    async def _through(self) -> str:
        """Read, check and write. What was written in between by others shows itself at the next reading."""
        for left in reversed(range(_READINGS)):
            self._phase, self._written = "reading", 0
            checking = self._checking = Checking(
                self._doors.database,
                self._doors.catalog,
                self._doors.quota,
                self._name.owner,
                self._name.session_id,
                replace=self._wish.replace,
                chunk=CHUNK,
                bounds=self._bounds,
            )
            try:
                await checking.run(self._wish.uploads)
                self._problems = checking.faults.sorted()
                if self._problems:
                    return "refused"
                if self._wish.dry_run or await self._whole(checking.plan, last=not left):
                    self._phase = "done"
                    return "done"
            finally:
                checking.plan.close()
        return "refused"

    async def _whole(self, plan: Plan, *, last: bool) -> bool:
        """Whether all of it is written now; of the `last` reading, what was refused is told."""
        self._phase = "writing"
        try:
            await self._doors.whole.stream(self._wish.sender, plan.chunks, progress=self._progress, sealed=self._done)
        except NotWhole as error:
            if last:
                self._problems = _refused(plan, error)
            return False
        return True

    def _progress(self, number: int) -> None:
        self._written = number


def _refused(plan: Plan, error: NotWhole) -> list[Problem]:
    """What was refused, at the lines that it came from."""
    reasons = {int(refusal["place"]): str(refusal["detail"]) for refusal in error.refusals}
    return [Problem(*of, None, reasons[place]) for place, of in plan.records(reasons).items()]
