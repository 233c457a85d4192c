"""Servers with one mistake each, for tests that must find it. The production code has no switch for any of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.app.wiring import Parts
from syncserver.core import depth, frames, protocol
from syncserver.engine.decide import Ack, Sender
from syncserver.storage import mutations, trip
from syncserver.storage.database import Database
from syncserver.storage.trip import Ask
from tests.faults import kills

_COMMIT_AFTER_S = 0.1


def ack_before_commit(_: Parts) -> None:
    """Writers are answered a moment before their transaction commits."""
    transaction, commits = Database.transaction, set[asyncio.Task[None]]()

    @asynccontextmanager
    async def late(
        self: Database, owners: Collection[str], *, queue: bool = False, **how: Any
    ) -> AsyncIterator[AsyncConnection]:
        if not queue:
            async with transaction(self, owners, **how) as connection:
                yield connection
            return
        async with AsyncExitStack() as stack:
            yield await stack.enter_async_context(transaction(self, owners, queue=True, **how))
            commit = asyncio.create_task(_late(stack.pop_all()))
        commits.add(commit)
        commit.add_done_callback(commits.discard)

    Database.transaction = late  # type: ignore[method-assign] # the mistake
    trip.go = partial(kills.still_open, trip.go)  # nor does the last statement end it


async def _late(transaction: AsyncExitStack) -> None:
    await asyncio.sleep(_COMMIT_AFTER_S)
    await transaction.aclose()


def ledger_apart(_: Parts) -> None:
    """The ledger is written in a transaction of its own, after the one that wrote the rows."""
    transaction, recorded = Database.transaction, mutations.recorded
    later = dict[asyncio.Task[Any] | None, Any]()

    def postponed(answers: Any) -> Ask[None]:
        later[asyncio.current_task()] = answers
        return Ask(sa.text("SELECT 1"), {})

    @asynccontextmanager
    async def apart(
        self: Database, owners: Collection[str], *, queue: bool = False, **how: Any
    ) -> AsyncIterator[AsyncConnection]:
        later.pop(asyncio.current_task(), None)
        async with transaction(self, owners, queue=queue, **how) as connection:
            yield connection
        answers = later.pop(asyncio.current_task(), None)
        if answers is not None:
            async with transaction(self, list(owners), queue=True) as connection:
                await trip.one(connection, recorded(answers))

    Database.transaction = apart  # type: ignore[method-assign] # the mistake
    mutations.recorded = postponed


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
    submit = parts.push.submit

    def deny(sender: Sender, proposed: Sequence[Mapping[str, Any]]) -> asyncio.Future[list[Ack]]:
        answered = submit(sender, proposed)
        return asyncio.ensure_future(denied(answered)) if sender.owner.startswith("user:fuzz") else answered

    async def denied(answered: asyncio.Future[list[Ack]]) -> list[Ack]:
        return [{"mutation_id": a["mutation_id"], "status": "rejected", "code": "invalid"} for a in await answered]

    parts.push.submit = deny  # type: ignore[method-assign] # the mistake


MUTANTS: Mapping[str, Callable[[Parts], None]] = {
    "ack-before-commit": ack_before_commit,
    "ledger-apart": ledger_apart,
    "deaf": deaf,
    "stumbling": stumbling,
    "hoarding": hoarding,
    "repeating": repeating,
    "denying": denying,
}
