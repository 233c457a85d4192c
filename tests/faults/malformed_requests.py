"""Malformed requests: well-formed HTTP that asks for what cannot be, part by part, for every route there is."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import jwt

from tests.faults.breaking import CANARY, HUGE, NASTY, broken, flipped
from tests.faults.malformed_frames import Known, valid
from tests.faults.malformed_http import raw
from tests.faults.valid_requests import Request, Routes
from tests.harness import SECRET, token

Dice = random.Random
_RAW_SHARE = 0.3
_TEXTS: Sequence[str] = (
    *("", "%", "%zz", "%00", "%0d%0aSet-Cookie:%20a=b", "%c3%28", "%ed%a0%80", "%ff", "%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
    *(
        "../../../etc/passwd",
        "..;/",
        "%252e%252e%252f",
        ".",
        "..",
        "//",
        "%5c..%5c",
        "a" * 513,
        "a" * 9_000,
        "é",
        "%E2%80%AE",
    ),
    *(
        CANARY,
        f"{CANARY}%00",
        f"%3Cscript%3E{CANARY}",
        "-1",
        "0",
        "1e9",
        "9" * 400,
        "NaN",
        "null",
        "true",
        "[]",
        "{}",
        "+",
        "*",
    ),
    *(
        "0f3c.c10ce1ca.7",
        "...",
        "0.0.0",
        "a.b.-1",
        "a.b.9223372036854775808",
        f"{CANARY}.{CANARY}.{CANARY}",
        "\u202e",
        "%F0%9F%93%96",
    ),
)
_HEADERS: Sequence[tuple[str, str]] = (
    *(
        ("If-Match", value)
        for value in ("", "*", '"', '""', '"-1"', 'W/"5"', '"1", "2"', "9" * 60, '"²"', f'"{CANARY}"', "٣")
    ),
    *(("If-None-Match", value) for value in ("*", '"', f'"{CANARY}"', "a" * 5_000)),
    *(("Last-Event-ID", value) for value in (CANARY, "..", "a.b.c", "a" * 129, "\x80", "٣.٣.٣")),
    *(
        ("Origin", value)
        for value in ("null", f"https://{CANARY}", "https://a b", "://", "a" * 9_000, "http://[::1", "\xff")
    ),
    *(("Cookie", value) for value in (f"token={CANARY}", ";;;=;=", "a=b; " * 900, "\xff=\xfe")),
    *(
        ("X-Forwarded-For", value)
        for value in (CANARY, "1.2.3.4, 5.6.7.8", "::ffff:0:0:0", ",,,", "a" * 4_000, '"', "\xff")
    ),
    *(("X-Forwarded-Proto", value) for value in ("https", "wss", CANARY, ",", "\xff")),
    *(("Host", value) for value in (CANARY, "a b", "[::1", ":0", "a" * 9_000, "\xff", "127.0.0.1:99999", "")),
    *(("Content-Encoding", value) for value in ("gzip", "br", CANARY)),
    *(("Range", "bytes=0-0, 5-1, -"), ("Accept", CANARY), ("Accept", "*/*;q=nan"), ("Accept-Encoding", "gzip;q=-1")),
    *(("Connection", "close"), ("Connection", "upgrade, close, , \t"), ("Upgrade", "h2c"), ("Expect", CANARY)),
    *(
        ("Authorization", value)
        for value in ("", "Bearer", "Bearer ", "Basic YTpi", f"Bearer {CANARY}", "Bearer a.b.c", "\xff")
    ),
    *(
        ("Authorization", value)
        for value in ("Bearer " + "a" * 20_000, "Bearer ..", "bearer eyJhbGciOiJub25lIn0.e30.", "Bearer é.é.é")
    ),
)
_TYPES = (
    *("", "text/plain", "application/json; charset=utf-16", "multipart/form-data", "multipart/form-data; boundary=a"),
    *(
        "application/x-www-form-urlencoded",
        "application/xml",
        "application/problem+json",
        CANARY,
        "a/" + "b" * 5_000,
        "/",
        "\xff",
    ),
)
_METHODS = (
    *(
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "PROPFIND",
        "get",
        "A" * 300,
        CANARY,
    ),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What to send to the HTTP port.

    `fresh`: on a connection of its own, read to its end; `cut`: the line is cut after it; `waits`: the answer may
    rightly take long; `bodiless`: its answer has a head only.
    """

    kind: str
    sent: bytes
    fresh: bool = False
    cut: bool = False
    waits: bool = False
    bodiless: bool = False


def requests(dice: Dice, routes: Routes, known: Known) -> Iterator[Asked]:
    """Malformed requests without end."""
    while True:
        operation = dice.choice(routes.operations)
        request, body = routes.valid(dice, operation, known)
        if operation.path == "/api/v1/token":  # a key that is taken back is never one that is needed
            request.headers[0] = ("Authorization", f"Bearer {token('somebody')}")
        if dice.random() < _RAW_SHARE and not operation.waits and "token" not in operation.path:
            kind, sent, cut = raw(dice, request)
            yield Asked(kind, sent, fresh=True, cut=cut)
            continue
        for _ in range(dice.choice((1, 1, 2))):
            dice.choice(_PARTS)(dice, request, body)
        waits = operation.waits or request.target.startswith("/api/v1/changes")
        yield Asked(operation.name, request.written(), waits=waits, bodiless=request.method == "HEAD")


def largest_requests(known: Known) -> list[Asked]:
    """One of each kind of what is very large."""
    dice = Dice(0)
    push = {"device": {"id": "phone"}, "client_id": "phone", **valid(dice, known)["push"]}
    headers = [("Authorization", f"Bearer {known.token}"), ("Content-Type", "application/json")]
    bodies = [huge(dice, push) for huge in HUGE]
    return [
        Asked("largest", Request("POST", ["/api/v1/push"], [], headers, body).written(), fresh=False) for body in bodies
    ]


def _in_path(dice: Dice, request: Request, _: Any) -> None:
    request.path[dice.randrange(len(request.path))] += dice.choice(_TEXTS)


def _path(dice: Dice, request: Request, _: Any) -> None:
    at = dice.randrange(len(request.path))
    request.path[at] = ("/" if at == 0 else "") + dice.choice(_TEXTS)


def _query(dice: Dice, request: Request, _: Any) -> None:
    names = [name for name, _ in request.query] or ["cursor", "limit", "after", "ticket", "wait", "resources", "a[]"]
    request.query.append((dice.choice(names), dice.choice((*_TEXTS, quote(str(dice.choice(NASTY)), errors="ignore")))))


def _queries(dice: Dice, request: Request, _: Any) -> None:
    request.query = [(name, dice.choice(_TEXTS)) for name, _ in request.query] + [("", ""), ("&=&", "=")]


def _header(dice: Dice, request: Request, _: Any) -> None:
    name, value = dice.choice(_HEADERS)
    if dice.random() < 0.8:
        request.headers = [(n, v) for n, v in request.headers if n.lower() != name.lower()]
    request.headers.append((name, value))


def _method(dice: Dice, request: Request, _: Any) -> None:
    request.method = dice.choice(_METHODS)


def _type(dice: Dice, request: Request, _: Any) -> None:
    request.headers = [(n, v) for n, v in request.headers if n != "Content-Type"]
    if kind := dice.choice(_TYPES):
        request.headers.append(("Content-Type", kind))


def _body(dice: Dice, request: Request, body: Any) -> None:
    request.body = broken(dice, body if body is not None else {})


def _chunks(dice: Dice, request: Request, body: Any) -> None:
    """The body in chunks, good ones: the length is told by them."""
    text = broken(dice, body if body is not None else {})
    size = max(1, len(text) // dice.choice((1, 2, 7)))
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    request.body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    request.headers.append(("Transfer-Encoding", "chunked"))


def _token(dice: Dice, request: Request, _: Any) -> None:
    """A token that is damaged, or signed well and says what none should."""
    good = request.headers[0][1] if request.headers else ""
    damaged = flipped(dice, good.encode()).decode("latin-1").translate(dict.fromkeys((*range(32), 127), "x"))
    bad = dice.choice((damaged, good[: dice.randrange(len(good) + 1)], f"Bearer {odd_token(dice)}", f"{good} {good}"))
    request.headers = [("Authorization", bad), *request.headers[1:]]


def odd_token(dice: Dice) -> str:
    """A token with a good signature over claims that no good issuer makes."""
    claims: dict[str, Any] = {"sub": "nobody", "jti": "1", "iat": 1, "exp": datetime.now(UTC).timestamp() + 600}
    claims[dice.choice((*claims, "nbf", "aud", "iss"))] = dice.choice(NASTY)
    claims.pop(dice.choice((*claims, "none", "none")), None)
    header = dice.choice(
        ({}, {}, {"typ": "session+jwt"}, {"kid": CANARY}, {"typ": CANARY}, {"crit": ["x"]}, {"cty": 5})
    )
    try:
        return jwt.encode(claims, SECRET, "HS256", header)
    except (TypeError, ValueError):  # what cannot even be signed
        return json.dumps(dice.choice((1, "a"))) + ".a.b"


_PARTS: Sequence[Callable[[Dice, Request, Any], None]] = (
    *(
        _in_path,
        _path,
        _query,
        _query,
        _queries,
        _header,
        _header,
        _method,
        _type,
        _body,
        _body,
        _body,
        _chunks,
        _token,
    ),
)
