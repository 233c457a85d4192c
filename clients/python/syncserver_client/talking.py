"""The client's face for what devices of one owner tell each other without keeping it."""

from __future__ import annotations

from typing import Any

from syncserver_client.company import Broadcast, Presence, broadcast_frame
from syncserver_client.core import Core
from syncserver_client.watch import Watch
from syncserver_client.wire import JsonObject


class Talking:
    """Part of `Client`. All of it needs a socket; on other transports nobody is heard."""

    _core: Core

    async def announce(self, state: JsonObject | None) -> None:
        """Say to the owner's other devices that this one is here, and what it is at; again after each reconnect.

        `state`: a JSON object of at most 4 KiB, or None (here, and nothing more to say); else ValueError, TypeError.
        """
        await self._core.announce(state)

    @property
    def here(self) -> list[Presence]:
        """The other devices that are here, as last heard. Empty without a socket, and before `announce`."""
        return list(self._core.here)

    def presences(self) -> Watch[list[Presence]]:
        """An async iterator of `here`: as it is now, and each time that it changes."""
        return self._core.presences.watch([self.here])

    async def broadcast(self, topic: str, value: Any) -> None:
        """Tell the owner's other live sockets something: not kept, and gone for who is not there.

        `topic`: 1 to 128 characters; `value`: JSON of at most 16 KiB; else ValueError, TypeError. Offline if this
        client has no socket now.
        """
        await self._core.send(broadcast_frame(topic, value))

    def broadcasts(self) -> Watch[Broadcast]:
        """An async iterator of what other devices broadcast, from this call on."""
        return self._core.broadcasts.watch()
