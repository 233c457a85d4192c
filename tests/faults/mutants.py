"""Servers with one mistake each, for tests that must find it. The production code has no switch for any of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.app.wiring import Parts
from syncserver.storage import mutations
from syncserver.storage.database import Database

_LATER = "ledger of the mutant"
_COMMIT_AFTER_S = 0.1


def ack_before_commit(_: Parts) -> None:
    """Writers are answered a moment before their transaction commits."""
    transaction, commits = Database.transaction, set[asyncio.Task[None]]()

    @asynccontextmanager
    async def late(self: Database, owners: Collection[str], *, queue: bool = False) -> AsyncIterator[AsyncConnection]:
        if not queue:
            async with transaction(self, owners) as connection:
                yield connection
            return
        async with AsyncExitStack() as stack:
            yield await stack.enter_async_context(transaction(self, owners, queue=True))
            commit = asyncio.create_task(_late(stack.pop_all()))
        commits.add(commit)
        commit.add_done_callback(commits.discard)

    Database.transaction = late  # type: ignore[method-assign] # the mistake


async def _late(transaction: AsyncExitStack) -> None:
    await asyncio.sleep(_COMMIT_AFTER_S)
    await transaction.aclose()


def ledger_apart(_: Parts) -> None:
    """The ledger is written in a transaction of its own, after the one that wrote the rows."""
    transaction, record = Database.transaction, mutations.record

    async def postponed(connection: AsyncConnection, *arguments: Any) -> None:
        connection.info[_LATER] = arguments

    @asynccontextmanager
    async def apart(self: Database, owners: Collection[str], *, queue: bool = False) -> AsyncIterator[AsyncConnection]:
        async with transaction(self, owners, queue=queue) as connection:
            connection.info.pop(_LATER, None)
            yield connection
            arguments = connection.info.pop(_LATER, None)
        if arguments is not None:
            async with transaction(self, owners, queue=True) as connection:
                await record(connection, *arguments)

    Database.transaction = apart  # type: ignore[method-assign] # the mistake
    mutations.record = postponed  # type: ignore[assignment] # the same, whatever it is called with


def deaf(parts: Parts) -> None:
    """Doorbells are lost, and no sweep makes up for it."""

    async def nothing() -> None:
        await asyncio.Event().wait()

    parts.listener.run = nothing  # type: ignore[method-assign] # the mistake
    parts.sweeper.run = nothing  # type: ignore[method-assign] # the mistake


MUTANTS: Mapping[str, Callable[[Parts], None]] = {
    "ack-before-commit": ack_before_commit,
    "ledger-apart": ledger_apart,
    "deaf": deaf,
}
