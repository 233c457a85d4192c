"""The baseline of fan-out: a plain Starlette application that sends each message to every socket, one by one."""

import contextlib
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

_sockets: set[WebSocket] = set()


async def relay(socket: WebSocket) -> None:
    """Everybody's messages to everybody."""
    await socket.accept()
    _sockets.add(socket)
    with contextlib.suppress(WebSocketDisconnect):
        async for message in socket.iter_text():
            for other in list(_sockets):
                await other.send_text(message)
    _sockets.discard(socket)


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[WebSocketRoute("/", relay)]),
        port=int(sys.argv[1]),
        log_level="error",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
    )
