"""Whatever is sent, in whatever pieces: the same is read; and what is no frame is refused, and never a surprise."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from syncserver.transports.reader import Fault, Reader
from tests.transports.rfc6455.line import BINARY, CLOSE, PING, PONG, TEXT, framed

_CODES = {1002, 1007, 1009}
Read = list[tuple[int, bytes | str]]
_masks = st.binary(min_size=4, max_size=4)


def read(pieces: Sequence[bytes]) -> tuple[Read, int | None]:
    """What is read of it, and the code that it is refused with."""
    reader, found = Reader(100_000, 100), Read()
    try:
        for piece in pieces:
            for one in reader.read(piece):
                found.append(one)
    except Fault as fault:
        return found, fault.code
    return found, None


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, Read]:
    """A message in frames, with control frames between them; and what is to be read of it."""
    text = draw(st.booleans())
    content: Any = draw(st.text(max_size=200) if text else st.binary(max_size=70_000 if draw(st.booleans()) else 300))
    payload = content.encode() if text else content
    parts = split(payload, draw(st.lists(st.integers(0, len(payload)), max_size=5))) or [b""]
    sent, found = b"", Read()
    for number, part in enumerate(parts):
        opcode = (TEXT if text else BINARY) if number == 0 else 0
        sent += framed(opcode, part, last=number == len(parts) - 1, mask=draw(_masks))
        if number < len(parts) - 1:
            for between in draw(st.lists(st.binary(max_size=125), max_size=2)):
                kind = draw(st.sampled_from((PING, PONG)))
                sent += framed(kind, between, mask=draw(_masks))
                found.append((kind, between))
    return sent, [*found, (TEXT if text else BINARY, content)]


_cuts = st.lists(st.integers(0, 2_000), max_size=20)


@given(st.lists(messages(), max_size=4), _cuts)
@settings(max_examples=150, deadline=None)
def test_frames_are_the_same_in_whatever_pieces_they_come(sent: list[tuple[bytes, Read]], cuts: list[int]):
    data, expected = b"".join(frames for frames, _ in sent), [one for _, found in sent for one in found]
    assert read([data]) == (expected, None)
    assert read(split(data, cuts)) == (expected, None)


@given(st.lists(messages(), max_size=2), st.binary(max_size=300), _cuts)
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_no_frames_are_refused_or_waited_for_in_whatever_pieces(
    good: list[tuple[bytes, Read]], bad: bytes, cuts: list[int]
):
    data = b"".join(frames for frames, _ in good) + bad
    found, code = read([data])
    assert code is None or code in _CODES
    assert found[: sum(len(read) for _, read in good)] == [one for _, read in good for one in read]
    assert read(split(data, cuts)) == (found, code)
    assert read([data[at : at + 1] for at in range(len(data))]) == (found, code)


@st.composite
def nearly(draw: st.DrawFn) -> bytes:
    """Frames as a client that is wrong in something would make them."""
    opcode = draw(st.sampled_from((0, TEXT, BINARY, CLOSE, PING, PONG, 3, 11)))
    first = draw(st.sampled_from((0x80, 0x80, 0x00, 0xC0))) | opcode
    length = draw(st.integers(0, 127))
    return bytes([first, 0x80 | length]) + draw(st.binary(max_size=140))


@given(st.lists(nearly(), max_size=6), _cuts)
@settings(max_examples=300, deadline=None)
def test_nearly_frames_too(frames: list[bytes], cuts: list[int]):
    data = b"".join(frames)
    found, code = read([data])
    assert code is None or code in _CODES
    assert read(split(data, cuts)) == (found, code)
