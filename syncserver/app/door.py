"""Where a TCP connection comes in: its first bytes say whether it becomes a device's socket, or what HTTP is.

A socket goes to a connection of our own, without a task and without a second look at its request (decision 23); all
else, and a socket that comes later on a line of HTTP, goes by way of uvicorn.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from syncserver.transports import upgrade
from syncserver.transports.websocket import Rules, Socket

_START = b"GET " + upgrade.PATH.encode()
_HEAD_BYTES = 65_536


class Door(asyncio.Protocol):
    """A line nobody has asked anything over yet. `http` makes the protocol of all that is no socket.

    `handshake_s`: how long the head of a request may take (0: for ever).
    """

    __slots__ = ("_began", "_http", "_late", "_rules", "_transport")

    def __init__(self, rules: Rules, http: Callable[[], asyncio.Protocol], handshake_s: float) -> None:
        self._rules = rules
        self._http = http
        self._began = b""
        self._transport: asyncio.Transport
        loop = asyncio.get_running_loop()
        self._late = loop.call_later(handshake_s, self._too_late) if handshake_s else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._rules.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """The first bytes, and those that are needed to know."""
        self._began += data
        if not _may_be_socket(self._began):
            self._over_to(self._http())
        elif upgrade.END in self._began or len(self._began) > _HEAD_BYTES:
            self._over_to(Socket(self._rules))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Nothing was asked."""
        self._leave()

    def shutdown(self) -> None:
        """The server ends."""
        self._transport.close()

    def _over_to(self, protocol: asyncio.Protocol) -> None:
        self._leave()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._began)

    def _leave(self) -> None:
        self._rules.connections.discard(self)
        if self._late is not None:
            self._late.cancel()

    def _too_late(self) -> None:
        self._transport.abort()


def _may_be_socket(began: bytes) -> bool:
    if len(began) <= len(_START):
        return _START.startswith(began)
    return began.startswith(_START) and began[len(_START) : len(_START) + 1] in {b" ", b"?"}


def doors(rules: Rules, http: Callable[..., asyncio.Protocol], handshake_s: float) -> Callable[..., Door]:
    """What uvicorn calls for each line that comes in, in place of its protocol of HTTP."""

    def made(**uvicorn: Any) -> Door:
        return Door(rules, lambda: http(**uvicorn), handshake_s)

    return made


def sockets(rules: Rules) -> Callable[..., Socket]:
    """What uvicorn calls for a socket that comes on a line of HTTP."""
    return lambda **_uvicorn: Socket(rules)
