"""Guests who remember what was offered to them: what a socket is to the engine."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson

from syncserver.core.actor import Device
from syncserver.engine.decide import Sender
from syncserver.engine.house import Guest


@dataclass
class Socket:
    """`room`: whether its queue takes anything. `told`: the frames that it was offered and took."""

    owner: str = "user:ada"
    name: str = "phone"
    room: bool = True
    told: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.guest = Guest(self.owner, _never, self._offer, Sender(self.owner, Device(self.name), "client"), "reader")

    def _offer(self, frame: bytes) -> bool:
        if self.room:
            self.told.put_nowait(orjson.loads(frame))
        return self.room

    async def hear(self) -> Any:
        """The next frame."""
        async with asyncio.timeout(20):
            return await self.told.get()


def _never(code: int, reason: str, retry_after_s: float | None = None) -> None:
    raise AssertionError((code, reason, retry_after_s))
