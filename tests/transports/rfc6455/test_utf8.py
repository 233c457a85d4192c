"""Text is UTF-8, at every split; a fault is found when it comes, and not when the message is whole (group 6)."""

import pytest

from syncserver.transports.reader import NO_TEXT, Fault, Reader
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
    framed,
    in_pieces,
)

_END = (CLOSE, close())

VALID = [
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
    "",
    "\x00",
    "\x7f",
    "\x80",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\ufffd",
    "\ufffe",
    "\uffff",
    "\U00010000",
    "\U0001fffe",
    "\U0010ffff",
    "a😀b€ç" * 3,
]

INVALID = {
    "a lone continuation byte": b"\x80",
    "the last continuation byte": b"\xbf",
    "many of them": b"\x80\xbf\x80\xbf",
    "a beginning and a space": b"\xc3 ",
    "a beginning of three and a space": b"\xe2\x82 ",
    "a beginning of four and a space": b"\xf0\x9f\x98 ",
    "two bytes without the last": b"\xc3",
    "three bytes without the last": b"\xe2\x82",
    "four bytes without the last": b"\xf0\x9f\x98",
    "a slash in two": b"\xc0\xaf",
    "a slash in three": b"\xe0\x80\xaf",
    "a slash in four": b"\xf0\x80\x80\xaf",
    "the largest that is too long in two": b"\xc1\xbf",
    "the largest that is too long in three": b"\xe0\x9f\xbf",
    "the largest that is too long in four": b"\xf0\x8f\xbf\xbf",
    "zero in two": b"\xc0\x80",
    "the first surrogate": b"\xed\xa0\x80",
    "the last surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "above the last character": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "the bytes that never are": b"\xfe\xff",
    "latin-1": "déjà vu".encode("latin-1"),
}
"""None of them is whole or right, and nothing that follows makes it so."""

_GREEK = "κόσμε".encode()


def read(*pieces: bytes) -> list[tuple[int, bytes | str]]:
    reader = Reader(1_048_576, 4_096)
    return [found for piece in pieces for found in reader.read(piece)]


@pytest.mark.parametrize("text", VALID)
@pytest.mark.parametrize("chops", [0, 1])
async def test_every_character_comes_back(client: Client, text: str, chops: int):
    assert await client.hears(framed(TEXT, text.encode()) + closing(), chops=chops) == [(TEXT, text.encode()), _END]


@pytest.mark.parametrize("text", VALID)
def test_characters_may_be_split_anywhere_into_frames_and_into_what_the_line_brings(text: str):
    payload = text.encode()
    for at in range(len(payload) + 1):
        sent = framed(TEXT, payload[:at], last=False) + framed(CONTINUATION, payload[at:])
        for split in range(len(sent) + 1):
            assert read(sent[:split], sent[split:]) == [(TEXT, text)]
        assert read(*chopped(sent, 1)) == [(TEXT, text)]
    for size in (1, 2, 3):
        assert read(in_pieces(TEXT, payload, size)) == [(TEXT, text)]


@pytest.mark.parametrize("name", INVALID)
@pytest.mark.parametrize("chops", [0, 1])
async def test_what_is_no_utf_8_is_refused(client: Client, name: str, chops: int):
    payload = _GREEK + INVALID[name]
    heard = await client.hears(framed(TEXT, b"before") + framed(TEXT, payload), chops=chops)
    assert heard[:-1] == [(TEXT, b"before")]
    assert closed_with(heard) == 1007


@pytest.mark.parametrize("name", INVALID)
async def test_bytes_that_are_no_text_may_be_anything(client: Client, name: str):
    assert await client.hears(framed(BINARY, INVALID[name]) + closing()) == [(BINARY, INVALID[name]), _END]


@pytest.mark.parametrize("name", INVALID)
def test_it_is_refused_at_every_split(name: str):
    payload = _GREEK + INVALID[name]
    for at in range(len(payload) + 1):
        sent = framed(TEXT, payload[:at], last=False) + framed(CONTINUATION, payload[at:])
        for split in range(len(sent) + 1):
            with pytest.raises(Fault) as refused:
                read(sent[:split], sent[split:])
            assert refused.value.code == NO_TEXT


_EARLY = {name: fault for name, fault in INVALID.items() if not name.endswith("without the last")}


@pytest.mark.parametrize("name", _EARLY)
@pytest.mark.parametrize("last", [False, True], ids=["in a first piece", "in a frame that is not whole"])
async def test_a_fault_is_told_before_the_message_ends(client: Client, name: str, *, last: bool):
    whole = framed(TEXT, _GREEK + _EARLY[name] + b"edited" * 20, last=last)
    client.give([whole if not last else whole[: -6 * 20]])
    assert closed_with(await client.rest()) == 1007


async def test_it_is_told_with_the_very_byte(client: Client):
    """Not before, since it could still be right; 0xF4 begins a character, and after it 0x90 cannot come."""
    payload = _GREEK + b"\xf4\x90\x80\x80edited"
    whole = framed(TEXT, payload)
    at = len(whole) - len(payload) + len(_GREEK) + 1
    client.give(chopped(whole[:at], 1))
    assert client.echo.lost_times == 0
    client.give([whole[at : at + 1]])
    assert client.echo.lost_times
    assert closed_with(await client.rest()) == 1007
