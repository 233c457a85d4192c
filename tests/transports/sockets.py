"""A raw socket that speaks JSON, for tests of what is said on it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import orjson
import websockets
from websockets.asyncio.client import ClientConnection

from tests.harness import Live, token

HELLO: dict[str, Any] = {
    "type": "hello",
    "device": {"id": "phone"},
    "client_id": "c1",
    "sent_at": "2026-11-22T08:15:00.000000Z",
    "protocol": [1, 1],
}


class Socket:
    """A raw connection that speaks JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.raw = connection

    async def say(self, frame: Any) -> None:
        await self.raw.send(orjson.dumps(frame).decode())

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            frame: dict[str, Any] = orjson.loads(await self.raw.recv())
            return frame

    async def hear_until(self, kind: str) -> dict[str, Any]:
        while (frame := await self.hear())["type"] != kind:
            pass
        return frame

    async def closed(self) -> int | None:
        """The code that the server closes with; what it says before is passed over."""
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await self.hear()
        return self.raw.close_code


@contextlib.asynccontextmanager
async def raw(live: Live) -> AsyncIterator[Socket]:
    spoken = [websockets.Subprotocol("syncserver.v1")]
    async with websockets.connect(live.socket_url, subprotocols=spoken, max_size=2**21) as socket:
        yield Socket(socket)


@contextlib.asynccontextmanager
async def greeted(live: Live, user: str = "ada", **hello: Any) -> AsyncIterator[Socket]:
    async with raw(live) as socket:
        await socket.say({**HELLO, "client_id": str(uuid4()), "token": token(user), **hello})
        assert (await socket.hear())["type"] == "welcome"
        yield socket


def put(key: str = "moby-dick", **more: Any) -> dict[str, Any]:
    mutation = {
        "mutation_id": str(uuid4()),
        "resource": "progress",
        "key": key,
        "op": "put",
        "data": {"percentage": 0.5},
    }
    return {**mutation, **more}


async def pushed(socket: Socket, *mutations: Any) -> list[dict[str, Any]]:
    await socket.say({"type": "push", "mutations": list(mutations)})
    acks: list[dict[str, Any]] = (await socket.hear_until("ack"))["acks"]
    return acks
