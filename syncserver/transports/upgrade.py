"""The upgrade of a line to a WebSocket (RFC 6455, 4.2): the head of a request in, an answer and what it said out.

The library judges the handshake; what it would say of a wrong one repeats the headers, so less is said here.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.utils import accept_key

from syncserver.core import frames

_quiet = logging.Logger("syncserver.upgrade", logging.ERROR)  # noqa: LOG001 - see below
"""Nobody's child, so no setting can raise it: the library would tell of each connection, and of what its head says."""

PATH = "/api/v1/socket"
_BAD = 400
_NOT_FOUND = 404
_SWITCHING = 101
_NO_HANDSHAKE = "This is not the handshake of a WebSocket.\n"
END = b"\r\n\r\n"
"""Of the head of a request."""

_LINE_END = "\r\n"
_PLAIN_BYTES = 4_096
_FIRST_LINE = f"GET {PATH} HTTP/1.1"
_WITH_BODY = frozenset({"content-length", "transfer-encoding"})
_HAS_TO_SAY = (("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-version", "13"))
_KEY = re.compile("[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes
_GOOD = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
_NO_SOCKET = "There is no WebSocket here.\n"
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Upgrade:
    """`answer`: the bytes to send. `headers`: of the request, by lower-case names; None where it was no good."""

    answer: bytes
    headers: Mapping[str, str] | None


class _Handshake(ServerProtocol):
    """The library's judgement, without what it repeats, and without the frames that come after."""

    def select_subprotocol(self, subprotocols: list[Subprotocol]) -> Subprotocol | None:  # type: ignore[override] # narrower than the library's, which calls it so
        """Ours if it is offered; none is as good."""
        ours = Subprotocol(frames.SUBPROTOCOL)
        return ours if ours in subprotocols else None

    def reject(self, status: int, text: str) -> Response:
        """An answer that repeats nothing, and names the version there is."""
        response = super().reject(status, text if text == _NO_SOCKET else _NO_HANDSHAKE)
        response.headers["Sec-WebSocket-Version"] = "13"
        return response


def judged(head: bytes) -> Upgrade:
    """The answer to the head of a request: all up to and with its first empty line, and nothing of what follows."""
    return _plainly_good(head) or by_library(head)


def _plainly_good(head: bytes) -> Upgrade | None:
    """The answer where nothing about the head is unusual; that saves the library's 50 us, an eighth of a handshake."""
    headers = _plain_headers(head)
    if headers is None or not headers.get("host") or not _WITH_BODY.isdisjoint(headers):
        return None
    if any(headers.get(name, "").lower() != value for name, value in _HAS_TO_SAY):
        return None
    key, offered = headers.get("sec-websocket-key", ""), headers.get("sec-websocket-protocol")
    if not _KEY.fullmatch(key) or offered not in {None, frames.SUBPROTOCOL}:
        return None
    spoken = f"Sec-WebSocket-Protocol: {offered}\r\n" if offered else ""
    return Upgrade((_GOOD + f"{accept_key(key)}\r\n{spoken}\r\n").encode(), headers)


def _plain_headers(head: bytes) -> dict[str, str] | None:
    """By lower-case names, where each stands there once and is nothing unusual."""
    if len(head) > _PLAIN_BYTES or not head.isascii():
        return None
    first, *lines = head.removesuffix(END).decode().split(_LINE_END)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not (colon and line.isprintable() and name.replace("-", "").isalnum()) or name.lower() in headers:
            return None
        headers[name.lower()] = value.strip()
    return headers if first == _FIRST_LINE else None


def by_library(head: bytes) -> Upgrade:
    """The same, for any head."""
    protocol = _Handshake(logger=_quiet)
    protocol.receive_data(head)
    found = protocol.events_received()
    if not found or not isinstance(found[0], Request):
        return Upgrade(b"".join(protocol.data_to_send()) or _BAD_REQUEST, None)
    request = found[0]
    response = _answer(protocol, request)
    protocol.send_response(response)
    good = response.status_code == _SWITCHING
    return Upgrade(b"".join(protocol.data_to_send()), _plain(request.headers) if good else None)


def _answer(protocol: _Handshake, request: Request) -> Response:
    if request.path.partition("?")[0] != PATH:
        return protocol.reject(_NOT_FOUND, _NO_SOCKET)
    if len(request.headers.get_all("Host")) != 1:
        return protocol.reject(_BAD, _NO_HANDSHAKE)
    return protocol.accept(request)


def _plain(headers: Headers) -> dict[str, str]:
    """Repeated ones joined, as HTTP has them."""
    found: dict[str, str] = {}
    for name, value in headers.raw_items():
        lower = name.lower()
        found[lower] = f"{found[lower]}, {value}" if lower in found else value
    return found


Trusted = Callable[[str | None, str | None], str | None]
"""From the host that a line comes from and what its X-Forwarded-For says, to where the peer is."""
