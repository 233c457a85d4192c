"""The way to the database for what is ephemeral: narrow, so that the log's readers and writers never wait behind it.

An outage is logged when it begins, however many find it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.errors import Unavailable
from syncserver.storage.database import Contention, Database

log = logging.getLogger(__name__)
RETRY_S = 0.5
AWAY = (Unavailable, Contention)
"""What passes: the same transaction may be tried again after RETRY_S."""


class Lane:
    """At most `width` transactions at once."""

    def __init__(self, database: Database, *, width: int = 2) -> None:
        self._database = database
        self._room = asyncio.Semaphore(width)
        self._away = False

    @asynccontextmanager
    async def transaction(self, owners: Collection[str]) -> AsyncIterator[AsyncConnection]:
        """As `Database.transaction`, when there is room."""
        async with self._room:
            try:
                async with self._database.transaction(owners) as connection:
                    yield connection
            except Unavailable:
                if not self._away:
                    log.warning("presence and notes wait for the database")
                self._away = True
                raise
            self._away = False
