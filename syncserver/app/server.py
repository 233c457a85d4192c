"""uvicorn, told how we serve: sockets hear goodbye before anything closes, and the end comes within seconds."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial

import uvicorn
from fastapi import FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from syncserver.app import door, lines
from syncserver.app.settings import Settings
from syncserver.core.errors import SetupError
from syncserver.engine.connection import Connection
from syncserver.engine.house import House
from syncserver.transports.upgrade import Trusted
from syncserver.transports.websocket import Rules

log = logging.getLogger(__name__)
_CLOSING_S = 2.0
_KERNEL_BYTES = 131_072
_ACCEPTED_AT_ONCE = 64
"""In one turn of the loop: 24 us each, so that in a storm nobody who is here already waits for long."""
_BACKLOG = 16_384
"""How many may wait to be accepted; Linux takes at most net.core.somaxconn, which is 4,096 where nobody set it."""
_COLLECTED_AFTER = (25_000, 50, 1_000)
"""New objects until the collector looks at them, and so many looks until it looks at older ones, and at all.

While 9,000 connect it costs 366 ms of a core and stands still for 22 ms at most; 1,437 and 340 ms with Python's own
(700, 10, 10), 417 and 79 ms with (100,000, 50, 1,000).
"""
_BALANCED = sys.platform.startswith("linux")
"""Whether a port that several sockets share is shared out among them: 1,000 connections come as 488:512 to 501:499.

Over one socket from which two processes accept it is 592:408 one by one, and 739:261 in a storm. macOS gives everything
to one of the sockets, so there the workers accept from the same.
"""
_PING_S, _PONG_S = 10.0, 15.0
"""Together less than 30 s: within that, a device that vanished is noticed."""


class Server(uvicorn.Server):
    """A uvicorn server that drains the house before it closes connections."""

    def __init__(self, app: FastAPI, settings: Settings, *, started: Callable[[], None] = lambda: None) -> None:
        rules = _rules(app.state.house, settings)
        http = lines.http(settings.slow_reader_s, settings.handshake_s)
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=door.doors(rules, http, settings.handshake_s),  # type: ignore[arg-type] # it calls it as a class
                ws=door.sockets(rules),  # type: ignore[arg-type] # the same
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                forwarded_allow_ips=settings.trusted_proxies,
                timeout_graceful_shutdown=1,
                backlog=_ACCEPTED_AT_ONCE,
            )
        )
        rules.connections = self.server_state.connections  # type: ignore[assignment] # it wants `shutdown` of each, no more
        self._house: House = app.state.house
        self._drain_s = settings.drain_s
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve; `started` is called when requests are answered."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_BACKLOG)  # for asyncio it is one number: how many wait, and how many it takes at once
        if self.started:
            self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nobody new, tell everybody goodbye, then close."""
        for server in self.servers:
            server.close()
        await self._house.drain(self._drain_s, _CLOSING_S)
        await super().shutdown(sockets)


def _rules(house: House, settings: Settings) -> Rules:
    return Rules(
        partial(Connection, house),
        origins=house.origins,
        cookie=house.cookie,
        frame_bytes=settings.frame_bytes,
        slow_reader_s=settings.slow_reader_s,
        pings_per_s=settings.frames_per_s,
        ping_s=_PING_S,
        pong_s=_PONG_S,
        trusted=_behind(settings.trusted_proxies),
    )


def _behind(proxies: str) -> Trusted:
    """Where a peer is, as uvicorn finds it for a request."""

    async def nothing(*_: object) -> None:
        """Nobody asks it for an answer."""

    known = ProxyHeadersMiddleware(nothing, proxies).trusted_hosts

    def where(host: str | None, forwarded: str | None) -> str | None:
        if forwarded is None or host not in known:
            return host
        return known.get_trusted_client_address(forwarded)[0] or host

    return where


def run(serving: Server, listener: socket.socket, leash: int | None = None) -> None:
    """Serve until asked to end by SIGTERM or SIGINT, or by a file that can be read: `leash`."""

    async def serve() -> None:
        if leash is not None:
            asyncio.get_running_loop().add_reader(leash, let_go, leash)
        await serving.serve(sockets=[listener])

    def let_go(leash: int) -> None:
        asyncio.get_running_loop().remove_reader(leash)
        serving.should_exit = True

    # uvicorn ends cleanly on both signals, and then raises them again: for us they are a wish fulfilled.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.collect()
    gc.freeze()  # what is here now stays: each full collection would walk it, and stand still for 150 ms
    gc.set_threshold(*_COLLECTED_AFTER)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())


@contextlib.contextmanager
def listening(host: str, port: int, workers: int) -> Iterator[list[socket.socket]]:
    """A socket for each worker, all on one port; raises SetupError that says why there is none."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(bound(host, port))
        if workers == 1 or not _BALANCED:
            yield [first] * workers
            return
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # not before, or a port that is taken were none
        port = first.getsockname()[1]
        others = [stack.enter_context(bound(host, port, shared=True)) for _ in range(workers - 1)]
        yield [first, *others]


def bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket to listen on; raises SetupError that says why there is none. `shared`: with others of this server."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle on
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)  # each connection inherits it
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise SetupError(f"Port {port} on {host} cannot be used: {reason}.", "Name another with --port.") from None
    return listener
