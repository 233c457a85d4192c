"""A server on a real socket in the running loop, over a database of the caller's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from syncserver.app import server as app_server
from syncserver.app import wiring
from syncserver.app.settings import Settings
from tests.harness import SECRET, Live, Urls


@asynccontextmanager
async def served(database: Urls, **changed: object) -> AsyncIterator[Live]:
    """It runs for as long as this is entered; settings may be changed by name."""
    settings = replace(Settings(port=0, sweep_s=0.5, drain_s=1.0), **changed)  # type: ignore[arg-type] # by name
    parts = wiring.Parts(settings, database.server, SECRET)
    started = asyncio.Event()
    with app_server.bound(settings.host, settings.port) as listening:
        server = app_server.Server(wiring.application(parts), settings, started=started.set)
        task = asyncio.create_task(server._serve([listening]))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        port = listening.getsockname()[1]
        try:
            yield Live(parts, f"http://{settings.host}:{port}", port)
        finally:
            server.should_exit = True
            await task
