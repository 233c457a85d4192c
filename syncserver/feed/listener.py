"""LISTEN on a connection of its own: whose doorbell rang. It carries no data and may be lost without harm.

It listens first and then asks for a sweep, so nothing between two connections is missed; it comes back by itself.
"""

import asyncio
import logging
from collections.abc import Callable

import psycopg

from syncserver.core.errors import Unavailable

log = logging.getLogger(__name__)
_HEARTBEAT_S = 10
_BACKOFF_S = (0.1, 5.0)


class Listener:
    """`ring(owner)` for each doorbell; `listening()` each time the connection stands (again)."""

    def __init__(self, url: str, *, ring: Callable[[str], None], listening: Callable[[], None]) -> None:
        self._url = url
        self._ring = ring
        self._listening = listening

    async def run(self) -> None:
        """Listen until cancelled."""
        wait_s = _BACKOFF_S[0]
        while True:
            try:
                async with await self._connected() as connection:
                    wait_s = _BACKOFF_S[0]
                    self._listening()
                    while True:
                        await self._hear(connection)
                        await self._ask(connection)
            except (psycopg.Error, OSError, TimeoutError, Unavailable):
                log.warning("the doorbell is disconnected; connecting again")
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _BACKOFF_S[1])

    async def _connected(self) -> psycopg.AsyncConnection:
        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=5, application_name="syncserver listener"
        )
        connection.add_notify_handler(lambda notify: self._ring(notify.payload))
        await connection.execute("LISTEN syncserver")
        return connection

    async def _hear(self, connection: psycopg.AsyncConnection) -> None:
        """Pass on what comes until the line was quiet for a heartbeat.

        libpq is read directly: psycopg's own iterator loses what arrives while nobody iterates (psycopg #962).
        """
        loop, socket, readable = asyncio.get_running_loop(), connection.fileno(), asyncio.Event()
        loop.add_reader(socket, readable.set)
        try:
            while await self._readable(readable):
                self._read(connection)
        finally:
            loop.remove_reader(socket)

    async def _readable(self, readable: asyncio.Event) -> bool:
        """True when something came; False when the line was quiet for a heartbeat."""
        try:
            async with asyncio.timeout(_HEARTBEAT_S):
                await readable.wait()
        except TimeoutError:
            return False
        readable.clear()
        return True

    def _read(self, connection: psycopg.AsyncConnection) -> None:
        connection.pgconn.consume_input()
        while notify := connection.pgconn.notifies():
            self._ring(notify.extra.decode())

    async def _ask(self, connection: psycopg.AsyncConnection) -> None:
        """Whether anybody is still there: a peer that vanished without a word is found by asking."""
        async with asyncio.timeout(_HEARTBEAT_S):
            await connection.execute("SELECT 1")
