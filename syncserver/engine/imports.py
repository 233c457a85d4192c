"""The imports of a process: begun, told of and cancelled, whichever process over the same database runs them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from syncserver.core import clock
from syncserver.core.errors import NotFound, RateLimited, Unavailable
from syncserver.engine.again import again
from syncserver.engine.checking import Bounds, Upload
from syncserver.engine.decide import Sender
from syncserver.engine.importing import CANCELLED, STOPPED, Doors, Importing, Wish
from syncserver.engine.quota import Quota
from syncserver.engine.whole import Whole
from syncserver.storage import imports
from syncserver.storage.database import Database
from syncserver.storage.imports import Kept, Name
from syncserver.storage.resource import Catalog

_LOOK_S = 0.5
_ROOM_S = 10.0
_CANCEL_S = 5.0
_SILENT = "The server that ran it went away before it was through; nothing of it was kept. Send it again."

Receive = Callable[[], Awaitable[Sequence[Upload]]]
"""Gives the files once they have come; they are the import's from then on."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How an import is to go. `replace`: rows that are there are written over. `dry_run`: nothing is written."""

    replace: bool = False
    dry_run: bool = False


class Imports:
    """All of one process. Every method raises Unavailable while the database is away.

    `import_bytes`: how much may be sent for one. At most `at_once` are received or run here. One that runs says every
    `beat_s` that it does.
    """

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        whole: Whole,
        *,
        quota: Quota | None = None,
        import_bytes: int = 256 << 20,
        bounds: Bounds | None = None,
        at_once: int = 4,
        beat_s: float = 1,
    ) -> None:
        self.import_bytes = import_bytes
        self._database = database
        self._doors = Doors(database, catalog, quota or Quota(), whole)
        self._bounds = bounds or Bounds()
        self._at_once = at_once
        self._beat_s = beat_s
        self._receiving = 0
        self._running: dict[str, tuple[Importing, asyncio.Task[None]]] = {}
        self._stopped = False

    async def begin(self, sender: Sender, name: Name, asked: Asked, receive: Receive) -> None:
        """Receive an import and run it, unless there is one of this name: then nothing is received.

        Raises RateLimited where others have to end before, NotFound for no such session, and what `receive` does.
        """
        if not await self._free(name):
            return
        if self._receiving + len(self._running) >= self._at_once:
            raise RateLimited("As many imports as this server takes at once are under way.", _ROOM_S)
        self._receiving += 1
        try:
            wish = Wish(sender, await receive(), asked.replace, asked.dry_run)
        finally:
            self._receiving -= 1
        await self._run(name, Importing(self._doors, name, wish, bounds=self._bounds, beat_s=self._beat_s))

    async def told(self, name: Name, wait_s: float = 0) -> dict[str, Any]:
        """How it stands, within `wait_s` of its end or after them; raises NotFound."""
        until = _monotonic() + wait_s
        while True:
            here = self._running.get(name.id)
            left_s = until - _monotonic()
            if here is not None and left_s > 0:
                await asyncio.wait({here[1]}, timeout=left_s)
            kept = await self._kept(name)
            if kept.state != "running" or kept.silent or left_s <= 0:
                return _told(name, kept, here[0].report() if here is not None else {})
            if here is None:
                await asyncio.sleep(min(_LOOK_S, left_s))

    async def cancel(self, name: Name) -> None:
        """Have it end with nothing kept; one that is over stays as it is. Raises NotFound."""
        async with self._database.transaction([name.owner]) as connection:
            if not await imports.cancel(connection, name):
                raise _no_such()
        here = self._running.get(name.id)
        if here is not None:
            here[0].end(CANCELLED)
            await asyncio.wait({here[1]}, timeout=_CANCEL_S)

    def stop(self) -> None:
        """End all that run, and begin no other: the server stops."""
        self._stopped = True
        for importing, _ in self._running.values():
            importing.end(STOPPED)

    async def close(self) -> None:
        """The same, and wait until their rows say so."""
        self.stop()
        if self._running:
            await asyncio.wait({task for _, task in self._running.values()}, timeout=_CANCEL_S)
        for _, task in self._running.values():
            task.cancel()

    async def _free(self, name: Name) -> bool:
        """Whether it can begin; False where there is one of this name. Raises RateLimited while another one runs."""
        if self._stopped:
            raise Unavailable("The server stops; nothing was changed, send it again.")
        async with self._database.transaction([name.owner]) as connection:
            if await imports.find(connection, name) is not None:
                return False
            if await imports.running(connection, name.owner, name.session_id):
                raise RateLimited("Another import of this session is under way.", _ROOM_S)
        return True

    async def _run(self, name: Name, importing: Importing) -> None:
        begun = False
        try:
            begun = await again(lambda: self._noted(name, importing))
        finally:
            if not begun:
                importing.close()
        if begun:
            task = asyncio.create_task(importing.run())
            self._running[name.id] = (importing, task)
            task.add_done_callback(lambda _: self._running.pop(name.id, None))
        elif await self._free(name):
            raise NotFound("There is no such session.")

    async def _noted(self, name: Name, importing: Importing) -> bool:
        async with self._database.transaction([name.owner]) as connection:
            return await imports.begin(connection, name, importing.report())

    async def _kept(self, name: Name) -> Kept:
        async with self._database.transaction([name.owner]) as connection:
            kept = await imports.find(connection, name)
        if kept is None:
            raise _no_such()
        return kept


def _told(name: Name, kept: Kept, latest: dict[str, Any]) -> dict[str, Any]:
    """The answer. What says that it runs, and does not, has failed."""
    report = {**kept.report, **latest} if kept.state == "running" else kept.report
    state = "failed" if kept.silent else kept.state
    if state == "failed" and not report.get("detail"):
        report = {**report, "detail": _SILENT, "retry": True}
    return {
        "import_id": name.id,
        "session_id": name.session_id,
        "state": state,
        "created_at": clock.write(kept.created_at),
        "seen_at": clock.write(kept.seen_at),
        **report,
    }


def _no_such() -> NotFound:
    return NotFound("There is no such import.")


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
