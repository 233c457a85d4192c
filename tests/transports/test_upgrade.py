"""Which request becomes a socket, and what is said to one that does not."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syncserver.transports import upgrade

_HEADERS = {
    "Host": "books.example",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
_CANARY = "sesame"


def head(start: str = "GET /api/v1/socket HTTP/1.1", *more: str, **changed: str | None) -> bytes:
    """The head of a request; `changed`: headers with _ for -, None for one that is left out."""
    headers = {**_HEADERS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    lines = [start, *(f"{name}: {value}" for name, value in headers.items() if value is not None), *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def test_a_request_of_the_standard_gets_the_answer_of_the_standard():
    judged = upgrade.judged(head())
    assert judged.answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in judged.answer
    assert judged.answer.endswith(b"\r\n\r\n")
    assert judged.headers is not None
    assert judged.headers["host"] == "books.example"


@pytest.mark.parametrize(
    "good",
    [
        head("GET /api/v1/socket?from=here HTTP/1.1"),
        head(Connection="keep-alive, Upgrade"),
        head(Connection="upgrade", Upgrade="WebSocket"),
        head("GET /api/v1/socket HTTP/1.1", "Cookie: a=b", "Origin: https://books.example"),
    ],
)
def test_what_clients_and_proxies_make_of_it_is_as_good(good: bytes):
    assert upgrade.judged(good).headers is not None


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(None, None), ("syncserver.v1", b"syncserver.v1"), ("soap, syncserver.v1", b"syncserver.v1"), ("soap", None)],
)
def test_our_protocol_is_chosen_where_it_is_offered(offered: str | None, chosen: bytes | None):
    answer = upgrade.judged(head(Sec_WebSocket_Protocol=offered)).answer
    assert answer.startswith(b"HTTP/1.1 101 ")
    named = [line for line in answer.split(b"\r\n") if line.lower().startswith(b"sec-websocket-protocol:")]
    assert named == ([b"Sec-WebSocket-Protocol: " + chosen] if chosen else [])


def test_no_extension_is_taken():
    answer = upgrade.judged(head(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits")).answer
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"extensions" not in answer.lower()


def test_headers_are_known_by_small_names_and_repeated_ones_are_joined():
    judged = upgrade.judged(head("GET /api/v1/socket HTTP/1.1", "X-Forwarded-For: 1.1.1.1", "x-forwarded-for: 2.2.2.2"))
    assert judged.headers is not None
    assert judged.headers["x-forwarded-for"] == "1.1.1.1, 2.2.2.2"


_BAD: dict[str, tuple[bytes, int]] = {
    "another method": (head("POST /api/v1/socket HTTP/1.1"), 405),
    "an old HTTP": (head("GET /api/v1/socket HTTP/1.0"), 505),
    "another path": (head("GET /api/v1/sockets HTTP/1.1"), 404),
    "a path of another server": (head("GET http://books.example/api/v1/socket HTTP/1.1"), 404),
    "no host": (head(Host=None), 400),
    "two hosts": (head("GET /api/v1/socket HTTP/1.1", "host: other.example"), 400),
    "no upgrade": (head(Upgrade=None), 426),
    "another upgrade": (head(Upgrade=_CANARY), 426),
    "several upgrades": (head(Upgrade="websocket, h2c"), 426),
    "no connection": (head(Connection=None), 426),
    "another connection": (head(Connection="close"), 426),
    "no key": (head(Sec_WebSocket_Key=None), 400),
    "a key too short": (head(Sec_WebSocket_Key="c2VzYW1l"), 400),
    "a key that is none": (head(Sec_WebSocket_Key=_CANARY + "!"), 400),
    "a key that is no ASCII": (head(Sec_WebSocket_Key="d\xe9hlIHNhbXBsZSBub25jZQ=="), 400),
    "two keys": (head("GET /api/v1/socket HTTP/1.1", "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="), 400),
    "no version": (head(Sec_WebSocket_Version=None), 400),
    "another version": (head(Sec_WebSocket_Version="8"), 400),
    "a protocol that is none": (head(Sec_WebSocket_Protocol=f"{_CANARY};;"), 400),
    "two origins": (head("GET /api/v1/socket HTTP/1.1", f"Origin: {_CANARY}", f"Origin: {_CANARY}"), 400),
    "a header too long": (head("GET /api/v1/socket HTTP/1.1", f"X: {_CANARY * 2_000}"), 431),
    "too many headers": (head("GET /api/v1/socket HTTP/1.1", *[f"X: {_CANARY}"] * 300), 431),
    "a header that is none": (head("GET /api/v1/socket HTTP/1.1", _CANARY), 400),
    "a header on two lines": (head("GET /api/v1/socket HTTP/1.1", "X: a", f" {_CANARY}"), 400),
    "a zero": (head("GET /api/v1/socket HTTP/1.1", f"X: {_CANARY}\0"), 400),
    "a body": (head("GET /api/v1/socket HTTP/1.1", "Content-Length: 6"), 400),
    "a body in chunks": (head("GET /api/v1/socket HTTP/1.1", "Transfer-Encoding: chunked"), 400),
    "no end": (head()[:-2], 400),
    "nothing": (b"", 400),
    "no HTTP": (_CANARY.encode() + b"\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", _BAD)
def test_what_is_no_upgrade_hears_so_and_nothing_of_its_own(name: str):
    bad, status = _BAD[name]
    judged = upgrade.judged(bad)
    assert judged.headers is None
    assert judged.answer.startswith(f"HTTP/1.1 {status} ".encode())
    first, _, body = judged.answer.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in first.lower()
    assert b"connection: close" in first.lower()
    assert _CANARY.encode() not in judged.answer
    assert b"GET" not in body


def test_another_version_hears_which_one_there_is():
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in upgrade.judged(head(Sec_WebSocket_Version="8")).answer


@given(st.binary(max_size=200), st.integers(0, 250))
@example(upgrade.END + b"A", 27)
@settings(max_examples=300, deadline=None)
def test_whatever_is_in_a_head_it_is_judged(noise: bytes, at: int):
    good = head()
    noisy, end, _ = (good[:at] + noise + good[at:]).partition(upgrade.END)
    judged = upgrade.judged(noisy + end)
    assert judged.answer.startswith(b"HTTP/1.1 101 " if judged.headers is not None else b"HTTP/1.1 ")
    assert b" 500 " not in judged.answer.partition(b"\r\n")[0]


_LINES = st.sampled_from(
    [
        "Host: books.example",
        "Host:",
        "Upgrade: websocket",
        "upgrade: WebSocket",
        "Connection: Upgrade",
        "Connection: keep-alive, upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==",
        "Sec-WebSocket-Key: dGhl",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Version: 8",
        "Sec-WebSocket-Protocol: syncserver.v1",
        "Sec-WebSocket-Protocol: soap",
        "Cookie: a=b; c=d",
        "X-Odd : space",
        " folded: line",
        "X-Tab:\ta",
        "no colon",
    ]
)


def _lines(answer: bytes) -> set[bytes]:
    return {line for line in answer.split(b"\r\n") if not line.startswith(b"Date:")}


@given(lines=st.permutations(list(_HEADERS.items())), more=st.lists(_LINES, max_size=3), left=st.integers(3, 5))
def test_what_is_judged_at_a_glance_is_judged_as_the_library_does(
    lines: list[tuple[str, str]], more: list[str], left: int
):
    told = [f"{name}: {value}" for name, value in lines[:left]]
    asked = ("\r\n".join(["GET /api/v1/socket HTTP/1.1", *told, *more]) + "\r\n\r\n").encode()
    quick, slow = upgrade.judged(asked), upgrade.by_library(asked)
    assert quick.headers == slow.headers
    if slow.headers is None:
        assert quick.answer == slow.answer or quick.answer.split(b"\r\n")[0] == slow.answer.split(b"\r\n")[0]
    else:
        assert _lines(quick.answer) == _lines(slow.answer)
