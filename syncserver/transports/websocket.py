"""The live door: /api/v1/socket. Starlette accepts and carries; what is said is the connection's."""

from functools import partial

from starlette.websockets import WebSocket, WebSocketDisconnect

from syncserver.core import address, frames, origin
from syncserver.engine.connection import Connection
from syncserver.engine.house import House
from syncserver.engine.wire import Gone, Wire
from syncserver.transports import line


async def _receive(socket: WebSocket) -> str | bytes | None:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        return None
    text: str | None = message.get("text")
    binary: bytes | None = message.get("bytes")
    return text if text is not None else binary


async def _send(socket: WebSocket, frame: bytes) -> None:
    try:
        await socket.send_text(frame.decode())
    except (WebSocketDisconnect, RuntimeError):
        raise Gone from None


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    try:
        await socket.close(code, reason)
    except (WebSocketDisconnect, RuntimeError):
        raise Gone from None


async def serve(house: House, socket: WebSocket) -> None:
    """Serve one socket from its upgrade to its close."""
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocol=frames.SUBPROTOCOL if frames.SUBPROTOCOL in offered else None)
    wire = Wire(
        receive=partial(_receive, socket),
        send=partial(_send, socket),
        close=partial(_close, socket),
        abort=partial(line.abort, socket.scope),
        address=address.of(socket.scope),
        foreign=not origin.let_in(socket.headers.get("origin"), socket.headers.get("host"), house.origins),
        cookie=partial(house.cookie.of_socket, socket.headers),
    )
    await Connection(house, wire).run()
