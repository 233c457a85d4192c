"""A bare socket beside some readers' devices: what the client library would smooth over shows here.

It comes back with its cursor every few seconds, so that resuming is watched as well.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

STAY_S, AGAIN_S = 7.0, 0.3


@dataclass(slots=True)
class Check:
    """The law of `changes` frames, pure: each begins at the own cursor, offsets only grow, none comes twice.

    `forgiving`: the server may say that something is away, and goodbye.
    """

    name: str
    cursor: str | None = None
    forgiving: bool = False
    last: int = 0
    rows: int = 0
    gaps: int = 0
    repeated: int = 0
    out_of_order: int = 0
    wrong: list[str] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)

    def take(self, frame: dict[str, Any]) -> None:
        """Look at one frame of the server."""
        match frame["type"]:
            case "changes":
                if self.cursor not in (None, frame["from"]):
                    self._gap(f"a frame begins at {frame['from']}, the cursor was {self.cursor}")
                for row in frame["rows"]:
                    self._row(row["offset"])
                self.cursor = frame["to"]
            case "ready":
                if self.cursor not in (None, frame["cursor"]):
                    self._gap(f"ready names {frame['cursor']}, the cursor was {self.cursor}")
                self.cursor = frame["cursor"]
            case "error" | "goodbye" if self.forgiving:
                pass
            case "error" | "refetch" | "goodbye":
                self._gap(f"an unexpected frame: {frame}")

    def _gap(self, sentence: str) -> None:
        self.gaps += 1
        self.wrong.append(f"{self.name} on the wire: {sentence}")

    def _row(self, offset: int) -> None:
        self.rows += 1
        if offset in self._seen:
            self.repeated += 1
            self.wrong.append(f"{self.name} on the wire: offset {offset} came twice")
        elif offset < self.last:
            self.out_of_order += 1
            self.wrong.append(f"{self.name} on the wire: offset {offset} came after {self.last}")
        self._seen.add(offset)
        self.last = max(self.last, offset)


class Observer:
    """Follows one reader until closed; `reached` waits for an offset. `forgiving`: it comes back when it was closed."""

    def __init__(self, url: str, reader: str, token: str, *, forgiving: bool = False) -> None:
        self.check = Check(reader, forgiving=forgiving)
        self._url = f"ws{url.removeprefix('http')}/api/v1/socket"
        self._token = token
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def reached(self, offset: int) -> None:
        """Wait until everything up to this offset came; raises what ended the observer before."""
        while self.check.last < offset and self._task is not None:
            self._moved.clear()
            moved = asyncio.ensure_future(self._moved.wait())
            await asyncio.wait({moved, self._task}, return_when=asyncio.FIRST_COMPLETED)
            moved.cancel()
            if self._task.done():
                self._task.result()

    async def close(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except (OSError, EOFError, TimeoutError, WebSocketException):
                if not self.check.forgiving:
                    raise
                await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        async with connect(
            self._url, subprotocols=[Subprotocol("syncserver.v1")], ping_interval=None, close_timeout=0.5
        ) as socket:
            await greet(socket, self._token, self.check.cursor)
            await self._stay(socket)

    async def _stay(self, socket: ClientConnection) -> None:
        try:
            async with asyncio.timeout(STAY_S):
                while True:
                    self.check.take(orjson.loads(await socket.recv(decode=False)))
                    self._moved.set()
        except TimeoutError:
            return
        except ConnectionClosed as closed:
            if not self.check.forgiving:
                self.check.wrong.append(f"{self.check.name} on the wire: the server closed: {closed}")
            raise


async def greet(socket: ClientConnection, token: str, cursor: str | None) -> None:
    """Say hello, and ask for everything after the cursor (None: everything)."""
    hello = {
        "type": "hello",
        "token": token,
        "device": {"id": "observer"},
        "client_id": str(uuid4()),
        "sent_at": datetime.now(UTC).isoformat(),
        "protocol": [1, 1],
    }
    await socket.send(orjson.dumps(hello), text=True)
    await socket.send(orjson.dumps({"type": "subscribe", "resources": None, "cursor": cursor}), text=True)
