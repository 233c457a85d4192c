"""Servers with one mistake each, for tests that must find it. The production code has no switch for any of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.app.wiring import Parts
from syncserver.core import depth, frames, protocol
from syncserver.engine.decide import Sender
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


def stumbling(_: Parts) -> None:
    """JSON is read by a parser that has no bounds of its own, and whose errors nobody expects."""
    depth.loads = lambda text, _most: json.loads(text)  # type: ignore[assignment] # the mistake


def hoarding(_: Parts) -> None:
    """Something of each frame is kept for ever."""
    parse, kept = protocol.parse, list[bytes]()

    def hoard(message: str | bytes, json_depth: int = protocol.JSON_DEPTH) -> frames.ClientFrame:
        kept.append(b"x" * 524_288)
        return parse(message, json_depth)

    protocol.parse = hoard


def repeating(_: Parts) -> None:
    """What is wrong with a value is said with the value."""

    def sentence(error: ValidationError) -> str:
        return "; ".join(f"{e['msg']}, not {e['input']!r}" for e in error.errors())

    protocol.sentence = sentence


def denying(parts: Parts) -> None:
    """What was written for some is said to be rejected."""
    push = parts.push.push

    async def deny(sender: Sender, proposed: Sequence[Mapping[str, Any]]) -> Any:
        acks = await push(sender, proposed)
        if not sender.owner.startswith("user:fuzz"):
            return acks
        return [{"mutation_id": ack["mutation_id"], "status": "rejected", "code": "invalid"} for ack in acks]

    parts.push.push = deny  # type: ignore[method-assign] # the mistake


MUTANTS: Mapping[str, Callable[[Parts], None]] = {
    "ack-before-commit": ack_before_commit,
    "ledger-apart": ledger_apart,
    "deaf": deaf,
    "stumbling": stumbling,
    "hoarding": hoarding,
    "repeating": repeating,
    "denying": denying,
}
