"""What a server hears and asks while a test looks on: its doorbells, and the statements that it sends."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from tests.harness import Live

CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'syncserver listener' AND datname = current_database()
"""


@contextmanager
def counted(live: Live) -> Iterator[list[str]]:
    """The statements that this server sends meanwhile."""
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    engine = live.parts.database._engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    yield asked
    sa.event.remove(engine, "before_cursor_execute", note)


async def until(true: Callable[[], object]) -> None:
    """Wait until this is so."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - turns of the loop, until the server has heard it
            await asyncio.sleep(0)


def muffled(live: Live) -> None:
    """From now on no doorbell reaches this server."""
    live.parts.listener._rings = dict.fromkeys(live.parts.listener._rings, lambda _owner: None)
