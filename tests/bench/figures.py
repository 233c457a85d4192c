"""What the measurements of `make bench` share: a figure beside its baseline, a raw device, and waiting for things."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import websockets
from websockets.asyncio.client import ClientConnection


class WrongError(Exception):
    """Something was lost, repeated or out of order: there is no figure."""


@dataclass
class Figure:
    """One measured thing beside its baseline."""

    name: str
    ours: float
    baseline: float
    baseline_name: str

    def line(self) -> str:
        """As a row of the table."""
        ratio = self.ours / self.baseline
        return f"{self.name:<44} {self.ours:>10,.1f} {self.baseline:>10,.1f} {ratio:>7.2f}  {self.baseline_name}"


@contextlib.asynccontextmanager
async def device(url: str, token: str, name: str) -> AsyncIterator[ClientConnection]:
    """A raw socket past hello: the generator has to be cheaper than what it measures."""
    async with websockets.connect(url.replace("http", "ws", 1) + "/api/v1/socket", compression=None) as socket:
        hello = {"type": "hello", "token": token, "device": {"id": name}, "client_id": name, "protocol": [1, 1]}
        await socket.send(orjson.dumps({**hello, "sent_at": datetime.now(UTC).isoformat()}).decode())
        await socket.recv()
        yield socket


async def pushed(socket: ClientConnection, mutations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The acks of these."""
    await socket.send(orjson.dumps({"type": "push", "mutations": mutations}).decode())
    while (frame := orjson.loads(await socket.recv()))["type"] != "ack":
        pass
    acks: list[dict[str, Any]] = frame["acks"]
    return acks


async def until(true: Callable[[], bool], tasks: list[asyncio.Task[None]]) -> None:
    """Wait until it is true, while no task has failed."""
    async with asyncio.timeout(60):
        while not true():
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.001)


async def ended(tasks: list[asyncio.Task[None]]) -> None:
    """End them, whatever they are at."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def share(values: Sequence[float], part: float) -> float:
    """The value that so great a part of them does not exceed; WrongError where there are none."""
    if not values:
        raise WrongError("nothing was measured")
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]
