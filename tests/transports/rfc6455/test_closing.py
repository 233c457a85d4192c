"""A close is answered with the same code, once, and nothing after it counts (group 7)."""

import asyncio

import pytest

from tests.transports.rfc6455.line import (
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    Client,
    close,
    closed_with,
    closing,
    echoing,
    framed,
)

_GOOD = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
_BAD = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)


@pytest.mark.parametrize("code", [None, *_GOOD])
@pytest.mark.parametrize("chops", [0, 1])
async def test_a_close_is_answered_with_its_code_and_the_line_ends(client: Client, code: int | None, chops: int):
    sent = framed(TEXT, b"before") + closing(code)
    assert await client.hears(sent, chops=chops) == [(TEXT, b"before"), (CLOSE, close(code))]
    assert client.echo.lost_times


@pytest.mark.parametrize("reason", [b"", b"going away", "κόσμε".encode(), b"r" * 123])
async def test_a_reason_is_repeated(client: Client, reason: bytes):
    assert await client.hears(closing(1000, reason)) == [(CLOSE, close(1000, reason))]


@pytest.mark.parametrize("payload", [b"\x03", *(code.to_bytes(2) for code in _BAD)])
@pytest.mark.parametrize("reason", [b"", b"why"])
async def test_a_close_with_a_code_that_is_none_is_refused(client: Client, payload: bytes, reason: bytes):
    heard = await client.hears(framed(CLOSE, payload + (reason if len(payload) > 1 else b"")))
    assert len(heard) == 1
    assert closed_with(heard) == 1002


async def test_a_reason_too_long_is_refused(client: Client):
    assert closed_with(await client.hears(closing(1000, b"r" * 124))) == 1002


@pytest.mark.parametrize("reason", [b"\xff", b"\xce\xba\xed\xa0\x80", b"\xe2\x82"])
async def test_a_reason_that_is_no_utf_8_is_refused(client: Client, reason: bytes):
    assert closed_with(await client.hears(closing(1000, reason))) == 1007


@pytest.mark.parametrize(
    "after", [framed(TEXT, b"later"), framed(PING, b"later"), closing(1001), b"\xff" * 50, framed(TEXT, b"x" * 262_144)]
)
@pytest.mark.parametrize("chops", [0, 1, 997])
async def test_what_comes_after_a_close_is_not_looked_at(client: Client, after: bytes, chops: int):
    if chops == 1:
        after = after[:200]
    assert await client.hears(closing() + after, chops=chops) == [(CLOSE, close())]


async def test_a_close_in_the_middle_of_a_message_is_a_close(client: Client):
    sent = framed(TEXT, b"never whole", last=False) + closing(1001) + framed(CONTINUATION, b"!")
    assert await client.hears(sent) == [(CLOSE, close(1001))]


async def test_nothing_is_said_after_the_server_closed_and_the_answer_to_it_ends_the_line(client: Client):
    socket = client.echo.socket
    socket.close(4001, "the server says so")
    socket.close(4002, "once only")
    socket.write([socket.form(b"too late")])
    client.give([framed(TEXT, b"not heard") + framed(PING, b"not answered"), closing(4001)])
    assert await client.rest() == [(CLOSE, close(4001, b"the server says so"))]
    assert client.echo.lost_times


async def test_a_fault_after_the_server_closed_ends_the_line_without_a_second_close(client: Client):
    client.echo.socket.close(4001, "")
    client.give([b"\xff\xff"])
    assert await client.rest() == [(CLOSE, close(4001))]


async def test_a_peer_that_does_not_answer_a_close_is_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("syncserver.transports.websocket._CLOSING_S", 0.05)
    async with echoing() as opened, opened() as client:
        client.echo.socket.close(4001, "")
        assert await client.rest() == [(CLOSE, close(4001))]


async def test_a_peer_that_ends_its_side_without_a_close_is_gone(client: Client):
    client.send(framed(TEXT, b"last words"))
    client.writer.write_eof()
    assert await client.rest() == [(TEXT, b"last words")]
    assert client.echo.lost_times


@pytest.mark.parametrize("sent", [closing(), framed(CONTINUATION)], ids=["a close", "a fault"])
async def test_the_server_ends_its_side_at_once(client: Client, sent: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("syncserver.transports.websocket._LAST_WORDS_S", 60)
    assert [opcode for opcode, _ in await client.hears(sent)] == [CLOSE]


@pytest.mark.parametrize("sent", [closing(), framed(CONTINUATION)], ids=["a close", "a fault"])
async def test_a_peer_that_does_not_end_its_own_is_cut(sent: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("syncserver.transports.websocket._LAST_WORDS_S", 0.05)
    async with echoing() as opened, opened() as client:
        client.writer.write(sent)
        socket = client.echo.socket
        async with asyncio.timeout(20):
            await client.reader.read()
            while not socket._transport.is_closing():  # noqa: ASYNC110 - turns of the loop
                await asyncio.sleep(0)
