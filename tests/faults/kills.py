"""Where a server kills itself with SIGKILL: around a write transaction's commit, and around its answers.

`before`: all is written, nothing committed. `between`: committed, nobody answered. `after`: a push has its answers,
and a moment later, about when they leave.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.engine.decide import Ack, Sender
from syncserver.engine.push import Push
from syncserver.storage import trip
from syncserver.storage.database import Database

Point = Literal["before", "between", "after"]


@dataclass(frozen=True, slots=True)
class Kill:
    """At which point of which transaction or push (1 is the first); `later_s` is how long after it, for `after`."""

    point: Point
    nth: int = 1
    later_s: float = 0.0

    def order(self) -> dict[str, Any]:
        """The same, to be sent to the process that starts the server."""
        return asdict(self)


def planned(kill: Kill) -> None:
    """From now on this process dies as planned."""
    if kill.point == "after":
        _after_answers(kill)
    else:
        _around_commits(kill)


def _around_commits(kill: Kill) -> None:
    transaction, written = Database.transaction, 0

    @asynccontextmanager
    async def deadly(
        self: Database, owners: Collection[str], *, queue: bool = False, **how: Any
    ) -> AsyncIterator[AsyncConnection]:
        nonlocal written
        async with transaction(self, owners, queue=queue, **how) as connection:
            yield connection
            written += queue
            if queue and written == kill.nth and kill.point == "before":
                _die()
        if queue and written == kill.nth:
            _die()

    Database.transaction = deadly  # type: ignore[method-assign] # this process is a server made to die
    if kill.point == "before":
        trip.go = partial(still_open, trip.go)  # so that there is a moment before it


async def still_open(
    go: Callable[..., Awaitable[list[Any]]],
    *arguments: Any,
    commit: bool = False,  # noqa: ARG001 - it comes with the end of the block, after the last statement
) -> list[Any]:
    """As `trip.go`, but that it never ends the transaction."""
    return await go(*arguments)


def _after_answers(kill: Kill) -> None:
    submit, answers = Push.submit, 0

    def deadly(self: Push, sender: Sender, proposed: Sequence[Mapping[str, Any]]) -> asyncio.Future[list[Ack]]:
        answered = submit(self, sender, proposed)
        answered.add_done_callback(count)
        return answered

    def count(_: asyncio.Future[list[Ack]]) -> None:
        nonlocal answers
        answers += 1
        if answers == kill.nth:
            asyncio.get_running_loop().call_later(kill.later_s, _die)

    Push.submit = deadly  # type: ignore[method-assign] # this process is a server made to die


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
