"""Once more, where another writer was in the way of a transaction."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from syncserver.core.errors import Unavailable
from syncserver.storage.database import Contention

_TRIES = 8
_PAUSE_S = 0.02
_T = TypeVar("_T")


async def again(transaction: Callable[[], Awaitable[_T]]) -> _T:
    """What the transaction gives once nobody is in its way; raises Unavailable when that does not come."""
    for attempt in range(_TRIES):
        try:
            return await transaction()
        except Contention:
            await asyncio.sleep(random.uniform(0, _PAUSE_S * 2**attempt))  # noqa: S311 - a pause, not a secret
    raise Unavailable("Other writers were in the way for too long.")
