"""What a server hears while a test looks on: its doorbells."""

import asyncio
from collections.abc import Callable

from tests.harness import Live

CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'syncserver listener' AND datname = current_database()
"""


async def until(true: Callable[[], object]) -> None:
    """Wait until this is so."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - turns of the loop, until the server has heard it
            await asyncio.sleep(0)


def muffled(live: Live) -> None:
    """From now on no doorbell reaches this server."""
    live.parts.listener._rings = dict.fromkeys(live.parts.listener._rings, lambda _owner: None)
