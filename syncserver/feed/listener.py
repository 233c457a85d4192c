"""LISTEN on a connection of its own, for every notify channel: whose doorbell rang. It carries no data and may be lost.

It listens first and then asks for a sweep, so nothing between two connections is missed; it comes back by itself.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

import psycopg
from psycopg import sql

from syncserver.core.errors import Unavailable

log = logging.getLogger(__name__)
CHANNEL = "syncserver"
"""The notify channel of the log."""

_HEARTBEAT_S = 10
_BACKOFF_S = (0.1, 5.0)


class Listener:
    """`rings`: for each notify channel, what is called with each doorbell's payload.

    `listening()` is called each time the connection stands (again); `connected` says whether it does.
    """

    def __init__(self, url: str, *, rings: Mapping[str, Callable[[str], None]], listening: Callable[[], None]) -> None:
        self._url = url
        self._rings = rings
        self._listening = listening
        self._heard = False
        self.connected = False

    async def run(self) -> None:
        """Listen until cancelled."""
        wait_s = _BACKOFF_S[0]
        while True:
            try:
                async with await self._connected() as connection:
                    wait_s = _BACKOFF_S[0]
                    self.connected = True
                    self._listening()
                    while True:
                        await self._hear(connection)
                        await self._ask(connection)
            except (psycopg.Error, OSError, TimeoutError, Unavailable):
                log.warning("the doorbell is disconnected; connecting again")
            finally:
                self.connected = False
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _BACKOFF_S[1])

    async def _connected(self) -> psycopg.AsyncConnection:
        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=5, application_name="syncserver listener"
        )
        connection.add_notify_handler(lambda notify: self._rings[notify.channel](notify.payload))
        for channel in self._rings:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        return connection

    async def _hear(self, connection: psycopg.AsyncConnection) -> None:
        """Pass on what comes, when it comes, until nothing did for a heartbeat.

        libpq is read directly: psycopg's own iterator loses what arrives while nobody iterates (psycopg #962).
        """
        loop, socket, ended = asyncio.get_running_loop(), connection.fileno(), asyncio.Future[None]()
        loop.add_reader(socket, self._readable, connection, socket, ended)
        try:
            self._heard = True
            while self._heard:
                self._heard = False
                await asyncio.wait([ended], timeout=_HEARTBEAT_S)
                if ended.done():
                    ended.result()
        finally:
            if not ended.done():
                loop.remove_reader(socket)

    def _readable(self, connection: psycopg.AsyncConnection, socket: int, ended: asyncio.Future[None]) -> None:
        """What goes wrong is raised where the line is waited for; by then its file may be somebody else's."""
        self._heard = True
        try:
            self._read(connection)
        except Exception as error:  # noqa: BLE001 - as above
            asyncio.get_running_loop().remove_reader(socket)
            ended.set_exception(error)

    def _read(self, connection: psycopg.AsyncConnection) -> None:
        connection.pgconn.consume_input()
        while notify := connection.pgconn.notifies():
            self._rings[notify.relname.decode()](notify.extra.decode())

    async def _ask(self, connection: psycopg.AsyncConnection) -> None:
        """Whether anybody is still there: a peer that vanished without a word is found by asking."""
        async with asyncio.timeout(_HEARTBEAT_S):
            await connection.execute("SELECT 1")
