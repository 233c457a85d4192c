"""A message in pieces, with control frames between them, and pieces that belong to none (group 5)."""

import pytest

from tests.transports.rfc6455.line import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Client,
    Heard,
    close,
    closed_with,
    closing,
    framed,
)

_END = (CLOSE, close())


def piece(payload: bytes, *, last: bool = False) -> bytes:
    return framed(CONTINUATION, payload, last=last)


def begun(payload: bytes, opcode: int = TEXT) -> bytes:
    return framed(opcode, payload, last=False)


_GOOD: dict[str, tuple[bytes, Heard]] = {
    "two pieces": (begun(b"a") + piece(b"b", last=True), [(TEXT, b"ab")]),
    "of bytes": (begun(b"\xff", BINARY) + piece(b"\xfe", last=True), [(BINARY, b"\xff\xfe")]),
    "a ping between": (begun(b"a") + framed(PING, b"p") + piece(b"b", last=True), [(PONG, b"p"), (TEXT, b"ab")]),
    "a pong between": (begun(b"a") + framed(PONG, b"p") + piece(b"b", last=True), [(TEXT, b"ab")]),
    "a last piece of nothing": (begun(b"a") + piece(b"", last=True), [(TEXT, b"a")]),
    "pieces of nothing": (begun(b"") + piece(b"") + piece(b"", last=True), [(TEXT, b"")]),
    "nothing but the middle": (begun(b"") + piece(b"m") + piece(b"", last=True), [(TEXT, b"m")]),
    "five pieces and two pings": (
        begun(b"1")
        + piece(b"2")
        + framed(PING, b"p")
        + piece(b"3")
        + piece(b"4")
        + framed(PING, b"q")
        + piece(b"5", last=True),
        [(PONG, b"p"), (PONG, b"q"), (TEXT, b"12345")],
    ),
    "one after the other": (
        begun(b"a") + piece(b"b", last=True) + framed(TEXT, b"c") + begun(b"d", BINARY) + piece(b"e", last=True),
        [(TEXT, b"ab"), (TEXT, b"c"), (BINARY, b"de")],
    ),
}


@pytest.mark.parametrize("name", _GOOD)
@pytest.mark.parametrize("chops", [0, 1, 7])
async def test_pieces_are_put_together(client: Client, name: str, chops: int):
    sent, answers = _GOOD[name]
    assert await client.hears(sent + closing(), chops=chops) == [*answers, _END]


_BAD: dict[str, tuple[bytes, Heard]] = {
    "a last piece of no message": (piece(b"x", last=True), []),
    "a piece of no message": (piece(b"x"), []),
    "a piece after the last": (begun(b"a") + piece(b"b", last=True) + piece(b"c"), [(TEXT, b"ab")]),
    "a piece after a whole message": (framed(TEXT, b"a") + piece(b"b", last=True), [(TEXT, b"a")]),
    "a message within a message": (begun(b"a") + framed(TEXT, b"b"), []),
    "a beginning within a message": (begun(b"a") + begun(b"b", BINARY), []),
    "again and again": (piece(b"a") + framed(TEXT, b"b") + piece(b"c"), []),
    "a ping in pieces": (begun(b"a") + framed(PING, b"p", last=False) + framed(PONG, b"p"), []),
    "a close in pieces": (framed(CLOSE, close(), last=False), []),
}


@pytest.mark.parametrize("name", _BAD)
@pytest.mark.parametrize("chops", [0, 1])
async def test_pieces_that_belong_to_nothing_are_refused(client: Client, name: str, chops: int):
    sent, answers = _BAD[name]
    heard = await client.hears(sent + framed(PING, b"never answered"), chops=chops)
    assert heard[:-1] == answers
    assert closed_with(heard) == 1002
