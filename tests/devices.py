"""A device on a socket of a server, for tests of what passes between devices."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson
import websockets
from websockets.asyncio.client import ClientConnection


@dataclass
class Device:
    """One device's socket. `id` is its connection's."""

    socket: ClientConnection
    id: str
    name: str

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send(orjson.dumps({"type": kind, **fields}).decode())

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(20):
            frame: dict[str, Any] = orjson.loads(await self.socket.recv())
            return frame

    async def others(self) -> list[dict[str, Any]]:
        """The next list of devices that it is told."""
        frame = await self.hear()
        assert frame["type"] == "presence"
        devices: list[dict[str, Any]] = frame["devices"]
        return devices

    async def told_of(self, *wanted: tuple[str, Any]) -> None:
        """Wait until it is told of exactly these: names and states. Lists on the way there may come before."""
        while sorted((d["device_id"], repr(d["state"])) for d in await self.others()) != sorted(
            (name, repr(state)) for name, state in wanted
        ):
            pass

    async def heard_no_more(self) -> bool:
        """Whether nothing came for it so far that it has not heard."""
        await self.say("ping")
        return bool((await self.hear())["type"] == "pong")


@asynccontextmanager
async def device(socket_url: str, token: str, name: str) -> AsyncIterator[Device]:
    """A device of this name whose hello was answered."""
    async with websockets.connect(socket_url, subprotocols=[websockets.Subprotocol("syncserver.v1")]) as socket:
        found = Device(socket, "", name)
        identity = {"id": name, "name": f"my {name}", "app": "reader"}
        stamp = "2026-11-22T08:15:00.000000Z"
        await found.say("hello", token=token, device=identity, client_id=str(uuid4()), sent_at=stamp, protocol=[1, 1])
        found.id = (await found.hear())["connection"]
        yield found
