"""The TCP line under a request or socket, as far as anybody but its server may touch it."""

import asyncio
import fcntl
import sys
import termios
from collections.abc import MutableMapping
from typing import Any

KEY = "line"


class Line:
    """`pending_bytes`: what was written and the peer has not taken. `abort`: end it without a word."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def pending_bytes(self) -> int:
        """What waits in this process and, where the system tells, what the peer has not acknowledged."""
        return self._transport.get_write_buffer_size() + self._in_kernel()

    def abort(self) -> None:
        """Drop what is not sent and close."""
        self._transport.abort()

    def _in_kernel(self) -> int:
        socket = self._transport.get_extra_info("socket")
        if socket is None or socket.fileno() < 0:
            return 0
        try:
            waiting = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            return 0  # this system does not tell
        return int.from_bytes(waiting, sys.byteorder)


def abort(scope: MutableMapping[str, Any]) -> None:
    """Cut the line that carries this request or socket, where the server gave one."""
    line = scope.get("state", {}).get(KEY)
    if isinstance(line, Line):
        line.abort()
