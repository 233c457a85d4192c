"""The live door: /api/v1/socket. Starlette accepts and carries; what is said is the connection's."""

from functools import partial

from starlette.websockets import WebSocket, WebSocketDisconnect

from syncserver.core import frames
from syncserver.engine.connection import Connection, Gone, Wire
from syncserver.engine.house import House


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
    wire = Wire(partial(_receive, socket), partial(_send, socket), partial(_close, socket))
    await Connection(house, wire).run()
