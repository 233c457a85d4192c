"""Work on the database as the role that owns the tables: for the operator's commands, outside of any server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.exc import ProgrammingError

from syncserver.app import databases
from syncserver.app.settings import Settings
from syncserver.core.errors import SetupError, SyncError, Unavailable
from syncserver.storage.database import Contention, Database

_FORBIDDEN = "42501"

T = TypeVar("T")


def run(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """What `work` gives; its errors say what the operator can do about them."""
    with databases.opened(settings) as urls:
        try:
            return asyncio.run(_with_pool(urls.owner, work))
        except Contention:
            raise Unavailable("Somebody else is writing these rows; nothing was changed, try again.") from None
        except ProgrammingError as error:
            raise _explained(getattr(error.orig, "sqlstate", None)) from None


async def _with_pool(url: str, work: Callable[[Database], Awaitable[T]]) -> T:
    database = Database(url, connections=1)
    try:
        return await work(database)
    finally:
        await database.close()


def _explained(sqlstate: str | None) -> SyncError:
    if sqlstate == _FORBIDDEN:
        return SetupError("This role may not do that.", "Name the role that owns the tables in SYNCSERVER_OWNER_URL.")
    return SetupError("The database has not the tables that this version needs.", "Run `syncserver migrate`.")
