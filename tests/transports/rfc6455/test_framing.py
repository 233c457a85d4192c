"""Frames of every length come through whole, whatever pieces the line makes of them (groups 1, 3, 4 and 10)."""

import pytest

from tests.transports.rfc6455.line import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Client,
    close,
    closed_with,
    closing,
    framed,
    in_pieces,
)

_END = (CLOSE, close())
_MOST = 1_048_576
_LENGTHS = (0, 1, 125, 126, 127, 128, 65_535, 65_536, _MOST - 1, _MOST)


@pytest.mark.parametrize("length", _LENGTHS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_message_of_any_length_comes_back(client: Client, opcode: int, length: int):
    payload = b"*" * length if opcode == TEXT else b"\xfe" * length
    assert await client.hears(framed(opcode, payload) + closing()) == [(opcode, payload), _END]


@pytest.mark.parametrize("chops", [1, 997])
@pytest.mark.parametrize("length", [0, 125, 126, 127, 128, 65_535, 65_536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_it_may_come_in_any_pieces(client: Client, opcode: int, length: int, chops: int):
    payload = (bytes(range(1, 128)) * (length // 127 + 1))[:length]
    assert await client.hears(framed(opcode, payload) + closing(), chops=chops) == [(opcode, payload), _END]


async def test_many_in_one_piece_come_back_in_their_order(client: Client):
    payloads = [str(number).encode() * (number % 200) for number in range(500)]
    sent = b"".join(framed(TEXT, payload) for payload in payloads)
    client.give([sent])
    client.send(closing())
    assert await client.rest() == [*((TEXT, payload) for payload in payloads), _END]


async def test_a_message_in_frames_of_a_kilobyte_comes_back_whole(client: Client):
    payload = b"*" * 65_536
    assert await client.hears(in_pieces(TEXT, payload, 1300) + closing()) == [(TEXT, payload), _END]


_BAD = (
    [
        (f"reserved {bits} of {opcode:x}", framed(opcode, b"", reserved=bits))
        for bits in range(1, 8)
        for opcode in (1, 2, 8, 9, 10)
    ]
    + [(f"opcode {opcode:x}", framed(opcode)) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)]
    + [(f"opcode {opcode:x} with a payload", framed(opcode, b"reserved")) for opcode in (3, 7, 11, 15)]
    + [(f"no mask, opcode {opcode:x}", framed(opcode, b"", mask=None)) for opcode in (TEXT, BINARY, CLOSE, PING, PONG)]
    + [("no mask with a payload", framed(TEXT, b"bare", mask=None))]
)


@pytest.mark.parametrize("bad", [frame for _, frame in _BAD], ids=[name for name, _ in _BAD])
@pytest.mark.parametrize("chops", [0, 1])
async def test_what_a_client_may_not_send_is_refused_after_what_came_before_was_answered(
    client: Client, bad: bytes, chops: int
):
    good = framed(TEXT, b"before") + framed(PING, b"p")
    client.give([good + bad + framed(PING, b"never answered")] if not chops else list(map(bytes, zip(good + bad))))
    heard = await client.rest()
    assert heard[:-1] == [(TEXT, b"before"), (PONG, b"p")]
    assert closed_with(heard) == 1002


async def test_it_is_refused_with_the_first_two_bytes(client: Client):
    client.give([framed(CONTINUATION, b"x" * 70_000)[:2]])
    assert closed_with(await client.rest()) == 1002


async def test_a_message_within_another_is_refused(client: Client):
    heard = await client.hears(framed(TEXT, b"a", last=False) + framed(BINARY, b"b"))
    assert closed_with(heard) == 1002
