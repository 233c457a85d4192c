"""Bytes that are no HTTP, or two kinds of it at once: lines, headers, lengths and upgrades that are wrong."""

import random
from collections.abc import Callable, Sequence

from tests.faults.breaking import CANARY, flipped
from tests.faults.rawsocket import UPGRADE, upgrade
from tests.faults.valid_requests import Request

Dice = random.Random
_LAST = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
"""Follows everything that is read to its end: good in itself, and swallowed by what is unfinished."""

_NO_HTTP = (
    *(
        b"",
        b"\r\n" * 50,
        b"\0" * 100,
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 300,
    ),
    *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"SSH-2.0-x\r\n", b"*1\r\n$4\r\nPING\r\n", b"\xff" * 70_000, b"A" * 70_000),
)
_LINES = (
    *(
        "GET /",
        "GET  /  HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "GET / HTTP/9.9",
        "GET / HTTP/1.1 x",
        "GET / http/1.1",
        "GET / HTTP/0.9",
    ),
    *(
        "GET http://127.0.0.1/healthz HTTP/1.1",
        "GET * HTTP/1.1",
        "CONNECT a:1 HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET ? HTTP/1.1",
    ),
    *(
        "GET /\0 HTTP/1.1",
        "GET /\xff\xfe HTTP/1.1",
        "GET # HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1\rX: y",
        "/ HTTP/1.1",
    ),
    *(
        "GET http://[::1 HTTP/1.1",
        "GET //healthz HTTP/1.1",
        "G\u00cbT / HTTP/1.1",
        f"GET /{'a' * 70_000} HTTP/1.1",
        "GET / HTTP/1.0",
    ),
)
_HEADERS = (
    *(
        "no colon",
        ": no name",
        "X : space before",
        " X: leading",
        "X: a\r\n folded",
        "X: a\0b",
        "X: a\rb",
        "X\0: a",
        "X: \x01",
    ),
    *(f"X: {'a' * 100_000}", "X: a\r\n" * 9_000 + "X: b", f"{'a' * 70_000}: x", "X(): a", "\xff: \xff", "X: a\nY: b"),
    *(
        "Content-Length: -1",
        "Content-Length: +5",
        "Content-Length: 0x10",
        "Content-Length: 5, 6",
        "Content-Length: " + "9" * 40,
    ),
    *("Content-Length: 5\r\nContent-Length: 6", "Content-Length: ", "Content-Length: \u00b2", "Content-Length: 1e3"),
    *("Transfer-Encoding: xchunked", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: gzip, chunked"),
    *(
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding:\x0bchunked",
    ),
    *(
        "Expect: 100-continue\r\nContent-Length: 5",
        "Upgrade: websocket\r\nConnection: Upgrade",
        "Upgrade: a\r\nConnection: upgrade",
    ),
    *("Trailer: X\r\nTransfer-Encoding: chunked", "Host: b", f"Host: {CANARY}\r\nHost: {CANARY}", "TE: trailers"),
)
_CHUNKS = (
    *(
        b"-1\r\n",
        b"ffffffffffffffffff\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello",
        b"5;" + b"a" * 70_000 + b"\r\nhello\r\n",
    ),
    *(
        b"5\nhello\n0\n\n",
        b"g\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"0\r\nX: y\r\nContent-Length: 5\r\n\r\n",
        b"1\r\n{\r\n" * 3_000,
    ),
    *(
        b" 5 \r\nhello\r\n0\r\n\r\n",
        b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n',
        b"0\r\n" + b"X: y\r\n" * 9_000 + b"\r\n",
        b"\r\n",
    ),
)


def raw(dice: Dice, request: Request) -> tuple[str, bytes, bool]:
    """What kind, its bytes, and whether the line is cut after them; `request` is good when it comes."""
    kind = dice.choice(_KINDS)
    sent = kind(dice, request)
    cut = kind is _part
    return kind.__name__.strip("_").replace("_", " "), sent if cut else sent + _LAST, cut


def _no_http(dice: Dice, _: Request) -> bytes:
    return dice.choice((*_NO_HTTP, dice.randbytes(dice.choice((1, 40, 3_000)))))


def _line(dice: Dice, request: Request) -> bytes:
    _, rest = request.written().split(b"\r\n", 1)
    return dice.choice(_LINES).encode("latin-1") + b"\r\n" + rest


def _header(dice: Dice, request: Request) -> bytes:
    line, rest = request.written().split(b"\r\n", 1)
    return line + b"\r\n" + dice.choice(_HEADERS).encode("latin-1") + b"\r\n" + rest


def _chunk(dice: Dice, request: Request) -> bytes:
    request.headers.append(("Transfer-Encoding", "chunked"))
    request.body = dice.choice(_CHUNKS)
    return request.written()


def _two_lengths(dice: Dice, request: Request) -> bytes:
    """A body whose end two readers would see at two places, with a whole request behind the nearer one."""
    inner = request.written()
    length, chunked = b"Content-Length: %d\r\n", b"Transfer-Encoding: chunked\r\n"
    heads = (
        (length % 4 + chunked, b"0\r\n\r\n"),
        (chunked + length % (5 + len(inner)), b"0\r\n\r\n"),
        (length % 0 + length % len(inner), b""),
        (length % 2 + b"Content-Length : 9\r\n", b"{}"),
        (b"Transfer-Encoding : chunked\r\n" + length % 5, b"0\r\n\r\n"),
    )
    head, body = dice.choice(heads)
    target = dice.choice((b"/api/v1/push", b"/healthz", b"/api/v1/verify"))
    return b"POST " + target + b" HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n" + body + inner


def _flipped(dice: Dice, request: Request) -> bytes:
    return flipped(dice, request.written())


def _part(dice: Dice, request: Request) -> bytes:
    """The beginning of a request: nothing of it may take effect."""
    sent = request.written()
    return sent[: dice.randrange(1, len(sent))]


def _not_an_upgrade(dice: Dice, _: Request) -> bytes:
    headers = dict(UPGRADE)
    name = dice.choice([name for name in headers if name != "Host"])
    values = ("", CANARY, "a" * 5_000, "\xff", "14", "websocket, websocket", "AAAA", "syncserver.v2, " * 500, ",")
    if dice.random() < 0.3:
        del headers[name]
    else:
        headers[name] = dice.choice(values)
    extra = (("Sec-WebSocket-Extensions", f"permessage-deflate; {CANARY}=99"), ("Origin", f"https://{CANARY}.example"))
    headers |= dict([dice.choice(extra)]) if dice.random() < 0.4 else {}
    path = dice.choice(
        ("/api/v1/socket", "/api/v1/socket", "/api/v1/progress", "/", f"/api/v1/socket?token={CANARY}", "/%00")
    )
    return upgrade(headers, path)


_KINDS: Sequence[Callable[[Dice, Request], bytes]] = (
    *(
        _no_http,
        _line,
        _header,
        _header,
        _chunk,
        _two_lengths,
        _two_lengths,
        _flipped,
        _flipped,
        _part,
        _part,
        _not_an_upgrade,
    ),
)
