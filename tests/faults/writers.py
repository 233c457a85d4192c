"""Writing as the protocol asks for it: the same mutations again, over any transport, until each is answered.

Every answer to a mutation must be the first one again. Sometimes the same mutations go over two transports at once.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import WebSocketException

from tests.faults import rawhttp
from tests.faults.readers import Link, greeted
from tests.faults.replica import Wrong

Mutation = dict[str, Any]
Ack = Mapping[str, Any]
ANSWER_S = (1.0, 4.0)
NETWORK = (OSError, EOFError, TimeoutError, WebSocketException)


def meaning(ack: Ack) -> dict[str, Any]:
    """An ack without what a repeated one changes."""
    return {name: value for name, value in ack.items() if name != "status"}


@dataclass
class Sent:
    """A mutation and what was answered: `ack` is the first answer that came, `new` the one that was not a duplicate."""

    mutation: Mutation
    ack: Ack | None = None
    new: Ack | None = None
    tries: int = 0
    duplicates: int = 0

    def answered(self, ack: Ack) -> None:
        """Another answer; raises Wrong when it differs from the first, or when two of them say that they are new."""
        if ack["status"] == "deferred":
            return
        if self.ack and meaning(self.ack) != meaning(ack):
            raise Wrong(f"answered {dict(self.ack)}, then {dict(ack)}")
        self.ack = self.ack or ack
        if ack["status"] == "duplicate":
            self.duplicates += 1
        elif self.new:
            raise Wrong(f"answered as new twice: {dict(self.new)}, {dict(ack)}")
        else:
            self.new = ack


@dataclass
class Outbox:
    """What one device sends: everything by mutation id, an event for each answer, and a call for each first one."""

    sent: dict[str, Sent] = field(default_factory=dict)
    answer: asyncio.Event = field(default_factory=asyncio.Event)
    progress: Callable[[], None] = lambda: None

    def acked(self, ack: Ack) -> None:
        """Take an answer, from whichever transport."""
        mutation_id = ack["mutation_id"]
        if mutation_id not in self.sent:
            raise Wrong(f"an answer to what was not asked: {dict(ack)}")
        sent = self.sent[mutation_id]
        first = sent.ack is None
        sent.answered(ack)
        if first and sent.ack:
            self.progress()
        self.answer.set()

    def open(self, batch: Sequence[Mutation]) -> list[Mutation]:
        """Those of a batch that have no answer yet."""
        return [m for m in batch if self.sent[m["mutation_id"]].ack is None]

    async def answered(self, batch: Sequence[Mutation]) -> None:
        """Return when all of the batch is answered."""
        while self.open(batch):
            self.answer.clear()
            await self.answer.wait()


class Writer:
    """Sends batches over routes of its choice, by the link's dice."""

    def __init__(self, link: Link, outbox: Outbox, dice: random.Random) -> None:
        self._link = link
        self._outbox = outbox
        self._dice = dice

    async def write(self, batch: Sequence[Mutation]) -> None:
        """Return when every mutation of the batch is answered, however often it must be sent."""
        for mutation in batch:
            self._outbox.sent[mutation["mutation_id"]] = Sent(mutation)
        while still := self._outbox.open(batch):
            for mutation in still:
                self._outbox.sent[mutation["mutation_id"]].tries += 1
            await self._try(self._dice.choice([still, list(batch)]))
            if self._outbox.open(batch):
                await asyncio.sleep(self._dice.uniform(0.02, 0.15))

    async def _try(self, batch: Sequence[Mutation]) -> None:
        routes = [self._by_post, self._by_own_socket] if self._link.socket is None else [self._by_post, self._by_socket]
        chosen = routes if self._dice.random() < 0.1 else [self._dice.choice(routes)]
        outcomes = await asyncio.gather(*(self._bounded(route, batch) for route in chosen), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _bounded(self, route: Callable[[Sequence[Mutation]], Awaitable[None]], batch: Sequence[Mutation]) -> None:
        with suppress(*NETWORK):
            async with asyncio.timeout(self._dice.uniform(*ANSWER_S)):
                await route(batch)

    async def _by_socket(self, batch: Sequence[Mutation]) -> None:
        """On the socket that the device reads from; its reader takes the answers."""
        if socket := self._link.socket:
            await socket.send(_push(batch))
            async with asyncio.TaskGroup() as waiting:
                answered = waiting.create_task(self._outbox.answered(batch))
                closed = waiting.create_task(socket.wait_closed())
                await asyncio.wait({answered, closed}, return_when=asyncio.FIRST_COMPLETED)
                answered.cancel()
                closed.cancel()

    async def _by_own_socket(self, batch: Sequence[Mutation]) -> None:
        async with greeted(self._link) as socket:
            await socket.send(_push(batch))
            frame = json.loads(await socket.recv())
            if frame["type"] == "ack":
                self._take(batch, frame["acks"])

    async def _by_post(self, batch: Sequence[Mutation]) -> None:
        device = {"device": {"id": self._link.device}, "client_id": self._link.device}
        body = json.dumps({**device, "mutations": list(batch)}).encode()
        headers = {**self._link.headers, "Content-Type": "application/json"}
        answer = await rawhttp.ask(self._link.port, "POST", "/api/v1/push", headers, body)
        if answer.status == 503:
            return
        if answer.status != 200:
            raise Wrong(f"a push was answered with status {answer.status}: {answer.body[:200]!r}")
        self._take(batch, json.loads(answer.body)["acks"])

    def _take(self, batch: Sequence[Mutation], acks: Sequence[Ack]) -> None:
        if [a["mutation_id"] for a in acks] != [m["mutation_id"] for m in batch]:
            raise Wrong("the acks are not those of the push, in its order")
        for ack in acks:
            self._outbox.acked(ack)


def _push(batch: Sequence[Mutation]) -> str:
    return json.dumps({"type": "push", "mutations": list(batch)})
