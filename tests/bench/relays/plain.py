"""The plain relay: Starlette on uvicorn, `send_text` to each subscriber.

`plain.py PORT CONTROL`. It also answers every GET with 304, for the measurement of polls.
"""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

if not __package__:  # run as a program: `tests` is found from the checkout's root
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from tests.bench.relays import obeying

_PAD = "x" * 225  # with the rest, an event has 300 bytes
_subscribers: dict[int, set[WebSocket]] = defaultdict(set)
_made: dict[int, int] = defaultdict(int)
_asked: asyncio.Queue[int] = asyncio.Queue()


async def follow(socket: WebSocket) -> None:
    """Hear what is made on the channel that it names: `sub N`."""
    await socket.accept()
    channel = int((await socket.receive_text())[4:])
    _subscribers[channel].add(socket)
    await socket.send_text('{"type":"ready"}')
    with suppress(WebSocketDisconnect):
        await socket.receive_text()
    _subscribers[channel].discard(socket)


async def unchanged(_: Request) -> Response:
    """No news, whoever asks."""
    return Response(None, 304, {"ETag": '"head"', "Cache-Control": "private, no-store"})


async def _relay() -> None:
    while True:
        channel = await _asked.get()
        _made[channel] += 1
        event = {"type": "changes", "ch": channel, "seq": _made[channel], "ns": time.monotonic_ns(), "pad": _PAD}
        text = orjson.dumps(event).decode()
        for socket in list(_subscribers[channel]):
            await socket.send_text(text)


@asynccontextmanager
async def _lifespan(_: Starlette) -> AsyncIterator[None]:
    listening = await obeying.obey(sys.argv[2], _asked.put_nowait)
    relaying = asyncio.create_task(_relay())
    print("ready", flush=True)
    yield
    relaying.cancel()
    listening.close()


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[WebSocketRoute("/", follow), Route("/", unchanged)], lifespan=_lifespan),
        port=int(sys.argv[1]),
        log_level="error",
        access_log=False,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
    )
