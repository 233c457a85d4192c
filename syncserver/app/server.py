"""uvicorn, told how we serve: sockets hear goodbye before anything closes, and the end comes within seconds."""

import logging
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from syncserver.app import lines
from syncserver.app.settings import Settings
from syncserver.core.errors import SetupError
from syncserver.engine.house import House

log = logging.getLogger(__name__)
_CLOSING_S = 2.0
_KERNEL_BYTES = 131_072
_PING_S, _PONG_S = 10.0, 15.0
"""Together less than 30 s: within that, a device that vanished is noticed."""


class Server(uvicorn.Server):
    """A uvicorn server that drains the house before it closes connections."""

    def __init__(self, app: FastAPI, settings: Settings, *, started: Callable[[], None] = lambda: None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=lines.http(settings.slow_reader_s, settings.handshake_s),
                ws=lines.socket(settings.slow_reader_s, settings.frames_per_s),
                ws_max_size=settings.frame_bytes,
                ws_per_message_deflate=False,
                ws_ping_interval=_PING_S,
                ws_ping_timeout=_PONG_S,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                forwarded_allow_ips=settings.trusted_proxies,
                timeout_graceful_shutdown=1,
            )
        )
        self._house: House = app.state.house
        self._drain_s = settings.drain_s
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve; `started` is called when requests are answered."""
        await super().startup(sockets)
        if self.started:
            self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nobody new, tell everybody goodbye, then close."""
        for server in self.servers:
            server.close()
        await self._house.drain(self._drain_s, _CLOSING_S)
        await super().shutdown(sockets)


def bound(host: str, port: int) -> socket.socket:
    """A listening socket; raises SetupError that says why there is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle on
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)  # each connection inherits it
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise SetupError(f"Port {port} on {host} cannot be used: {reason}.", "Name another with --port.") from None
    return listening
