"""How much a message may be, in whatever pieces; and how many (group 9)."""

from collections.abc import AsyncIterator

import pytest

from tests.transports.rfc6455.line import (
    BINARY,
    CLOSE,
    CONTINUATION,
    TEXT,
    Client,
    chopped,
    close,
    closed_with,
    closing,
    echoing,
    framed,
    in_pieces,
)

_END = (CLOSE, close())
_MOST = 1_048_576


@pytest.fixture
async def narrow() -> AsyncIterator[Client]:
    """A line whose messages may be 1,000 bytes, and come in 10 pieces."""
    async with echoing(frame_bytes=1_000, most_pieces=10) as opened, opened() as found:
        yield found


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize(
    ("length", "size"), [(65_536, 64), (262_144, 256), (_MOST, 4_096), (_MOST, 65_536), (_MOST, _MOST)]
)
async def test_a_large_message_in_frames_of_any_size_comes_back(client: Client, opcode: int, length: int, size: int):
    payload = b"*" * length
    assert await client.hears(in_pieces(opcode, payload, size) + closing()) == [(opcode, payload), _END]


@pytest.mark.parametrize("chops", [64, 1_024, 65_536])
async def test_it_may_come_slowly_and_in_pieces_of_the_line(client: Client, chops: int):
    payload = b"*" * _MOST
    client.give(chopped(framed(TEXT, payload), chops))
    client.send(closing())
    assert await client.rest() == [(TEXT, payload), _END]


@pytest.mark.parametrize("pieces", [1, 2, 7, 10])
async def test_as_much_as_may_be_comes_back_and_a_byte_more_is_refused(narrow: Client, pieces: int):
    size = 1_000 // pieces + (1_000 % pieces > 0)
    sent = in_pieces(TEXT, b"*" * 1_000, size) + in_pieces(TEXT, b"*" * 1_001, size)
    heard = await narrow.hears(sent)
    assert heard[:-1] == [(TEXT, b"*" * 1_000)]
    assert closed_with(heard) == 1009


@pytest.mark.parametrize("length", [1_001, 65_535, 65_536, 2**31, 2**63 - 1, 2**64 - 1])
async def test_a_message_too_large_is_refused_with_its_head(narrow: Client, length: int):
    size = b"\xfe" + length.to_bytes(2) if length < 65_536 else b"\xff" + length.to_bytes(8)
    narrow.give([b"\x81" + size])
    assert closed_with(await narrow.rest()) == 1009


async def test_a_short_last_piece_that_is_too_much_is_refused_with_its_head(narrow: Client):
    narrow.give([framed(TEXT, b"*" * 990, last=False), framed(CONTINUATION, b"*" * 11)[:2]])
    assert closed_with(await narrow.rest()) == 1009


async def test_as_many_pieces_as_may_be_and_one_more(narrow: Client):
    heard = await narrow.hears(in_pieces(TEXT, b"*" * 10, 1) * 2 + in_pieces(TEXT, b"*" * 11, 1))
    assert heard[:-1] == [(TEXT, b"*" * 10)] * 2
    assert closed_with(heard) == 1009


async def test_a_message_of_endless_empty_pieces_is_refused(narrow: Client):
    heard = await narrow.hears(framed(TEXT, b"", last=False) + framed(CONTINUATION, b"", last=False) * 10)
    assert closed_with(heard) == 1009
