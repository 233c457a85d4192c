"""Clients that do not stay: some come, look and go; some ask for very much, and do not read it for a while."""

import asyncio
import socket
from contextlib import suppress
from random import Random
from urllib.parse import urlsplit
from uuid import uuid4

import orjson
import syncserver_client
from syncserver_client import SyncError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.bench.living import RESOURCE, LiveReader, transports
from tests.bench.observer import Check, greet

HOARD_ROWS = 6000  # some 3 MB on the wire: more than the kernel's buffers hold
RECEIVE_BYTES = 16_384
STAYS_MOST_S, PAUSE_S = 3.0, 0.3
SLEEPS_S = (1.0, 45.0)
READY_S = 60.0
NETWORK = (OSError, EOFError, TimeoutError, WebSocketException)


class Visitors:
    """Everybody who comes and goes; `wrong` tells in words what they saw amiss."""

    def __init__(self, url: str, seed: str) -> None:
        self._url = url
        self._rng = Random(seed)
        self.visits = self.sleeps = self.cut_off = 0
        self.wrong: list[str] = []

    async def visit(self, readers: list[LiveReader]) -> None:
        """Connect as another device of some reader, hold everything, go; for ever."""
        while True:
            one = self._rng.choice(readers)
            client = syncserver_client.connect(
                self._url,
                one.token,
                device=f"visitor-{uuid4()}",
                optimistic=False,
                transports=transports(self._rng),
                backoff_most_s=1.0,
            )
            async with client:
                with suppress(TimeoutError, SyncError):  # the database may be away
                    async with asyncio.timeout(self._rng.uniform(0.05, READY_S)):
                        await client.ready()
                    await asyncio.sleep(self._rng.uniform(0, STAYS_MOST_S))
                one.ledger.glimpsed += [row for (name, _), row in client.rows.items() if name == RESOURCE]
            self.visits += 1
            await asyncio.sleep(self._rng.expovariate(1 / PAUSE_S))

    async def sleep(self, token: str) -> None:
        """Ask for the hoard and read nothing for a while, then go on, or find the socket closed; for ever."""
        while True:
            check = Check("hoard")
            with suppress(*NETWORK):
                await self._slept(check, token)
            self.wrong += check.wrong
            await asyncio.sleep(PAUSE_S)

    async def _slept(self, check: Check, token: str) -> None:
        to = urlsplit(self._url)
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        narrow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(narrow, (to.hostname, to.port))
        address = f"ws{self._url.removeprefix('http')}/api/v1/socket"
        async with connect(address, sock=narrow, ping_interval=None, close_timeout=0.5, max_size=None) as connection:
            await greet(connection, token, None)
            connection.transport.pause_reading()
            self.sleeps += 1
            await asyncio.sleep(self._rng.uniform(*SLEEPS_S))
            connection.transport.resume_reading()
            try:
                await self._awake(connection, check)
            except ConnectionClosed:
                self.cut_off += 1

    async def _awake(self, connection: ClientConnection, check: Check) -> None:
        async with asyncio.timeout(READY_S):
            while True:
                frame = orjson.loads(await connection.recv(decode=False))
                if frame["type"] in ("goodbye", "error"):
                    self.cut_off += 1
                    return
                check.take(frame)
                if frame["type"] == "ready":
                    if check.rows != HOARD_ROWS:
                        self.wrong.append(f"the hoard is {HOARD_ROWS} rows, ready came after {check.rows}")
                    return
