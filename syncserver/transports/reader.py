"""A client's frames (RFC 6455, 5), put together to messages as their bytes come, whatever pieces they come in.

They are read here and not by the library, because a strict reader does three things that it does not: it hands over a
message before it looks at what comes behind it, finds a fault in text while the frame is still coming, and takes a
close in the middle of a message for a close.
"""

import codecs
from collections.abc import Iterator

try:
    from websockets.speedups import apply_mask
except ImportError:  # a build of it without C
    from websockets.utils import apply_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
PROTOCOL_ERROR, NO_TEXT, TOO_LARGE = 1002, 1007, 1009
_KNOWN = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
_LAST, _RESERVED, _OPCODE = 0x80, 0x70, 0x0F
_MASKED, _LENGTH = 0x80, 0x7F
_MIDDLE = 126
_HEAD_BYTES, _MIDDLE_BYTES, _LONG_BYTES, _MASK_BYTES = 2, 2, 8, 4
_UTF8 = codecs.getincrementaldecoder("utf-8")


class Fault(Exception):
    """The peer does not keep to the protocol. `code`: what to close with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Reader:
    """What one peer sends. `message_bytes`: how long a message may be; `most_pieces`: how many it may come in."""

    __slots__ = (
        "_check",
        "_due_bytes",
        "_kept",
        "_last",
        "_mask",
        "_message",
        "_message_bytes",
        "_most_pieces",
        "_opcode",
        "_pieces",
        "_text",
    )

    def __init__(self, message_bytes: int, most_pieces: int) -> None:
        self._message_bytes = message_bytes
        self._most_pieces = most_pieces
        self._kept = b""  # a head that is not whole, or a control frame
        self._opcode = 0  # of the frame that is under way; so the next three
        self._last = False
        self._mask = b""
        self._due_bytes = 0
        self._text = False  # of the message that is under way; so the next three
        self._message: bytearray | None = None
        self._pieces = 0
        self._check: codecs.IncrementalDecoder | None = None

    def read(self, data: bytes) -> Iterator[tuple[int, bytes | str]]:
        """What is whole with this, in order: (opcode, message or payload of a control frame). Raises Fault."""
        if self._kept:
            data, self._kept = self._kept + data, b""
        at = 0
        while at < len(data):
            if not self._due_bytes:
                payload_at = self._head(data, at)
                if payload_at is None:
                    self._kept = data[at:]
                    return
                at = payload_at
            part = data[at : at + self._due_bytes]
            at += len(part)
            part = self._unmasked(part)
            if self._opcode >= CLOSE:
                yield self._opcode, part
            elif (message := self._put(part)) is not None:
                yield (TEXT if self._text else BINARY), message

    # -- frames --------------------------------------------------------------

    def _head(self, data: bytes, at: int) -> int | None:
        """Take the head that begins here; where its payload begins, None while too little is there."""
        mask_at = at + _HEAD_BYTES
        if len(data) < mask_at:
            return None
        first, second = data[at], data[at + 1]
        self._judge(first, second)
        length = second & _LENGTH
        if length >= _MIDDLE:
            mask_at += _MIDDLE_BYTES if length == _MIDDLE else _LONG_BYTES
            if len(data) < mask_at:
                return None
            length = int.from_bytes(data[at + _HEAD_BYTES : mask_at])
            if length + len(self._message or b"") > self._message_bytes:
                raise Fault(TOO_LARGE, "a message too large")
        payload_at = mask_at + _MASK_BYTES
        opcode = first & _OPCODE
        if len(data) < (payload_at if opcode < CLOSE else payload_at + length):
            return None
        self._opcode, self._last = opcode, first >= _LAST
        self._mask, self._due_bytes = data[mask_at:payload_at], length
        if opcode < CLOSE:
            self._begin()
        return payload_at

    def _judge(self, first: int, second: int) -> None:
        """Whether a frame may begin like this, here."""
        opcode = first & _OPCODE
        if first & _RESERVED or opcode not in _KNOWN:
            raise Fault(PROTOCOL_ERROR, "a reserved bit or opcode")
        if not second & _MASKED:
            raise Fault(PROTOCOL_ERROR, "a frame without a mask")
        if opcode < CLOSE:
            if (opcode == CONTINUATION) is (self._message is None):
                raise Fault(PROTOCOL_ERROR, "a piece of no message, or a message within another")
            if (second & _LENGTH) + len(self._message or b"") > self._message_bytes:
                raise Fault(TOO_LARGE, "a message too large")
        elif first < _LAST or second & _LENGTH >= _MIDDLE:
            raise Fault(PROTOCOL_ERROR, "a control frame in pieces, or too long")

    def _unmasked(self, part: bytes) -> bytes:
        """What came of a payload; the next part of it begins where the mask is by then."""
        clear = apply_mask(part, self._mask)
        self._due_bytes -= len(part)
        if self._due_bytes:
            turned = len(part) % _MASK_BYTES
            self._mask = self._mask[turned:] + self._mask[:turned]
        return clear

    # -- messages ------------------------------------------------------------

    def _begin(self) -> None:
        """Another frame of a message."""
        if self._opcode != CONTINUATION:
            self._text = self._opcode == TEXT
            self._pieces = 0
        self._pieces += 1
        if self._pieces > self._most_pieces:  # however small, each is work
            raise Fault(TOO_LARGE, "a message in too many pieces")

    def _put(self, part: bytes) -> bytes | str | None:
        """Put this to the message; the whole of it, with its last part."""
        last = self._last and not self._due_bytes
        try:
            if last and self._message is None:
                return part.decode() if self._text else part
            return self._gathered(part, last=last)
        except UnicodeDecodeError:
            raise Fault(NO_TEXT, "text that is no UTF-8") from None

    def _gathered(self, part: bytes, *, last: bool) -> bytes | str | None:
        if self._message is None:
            self._message = bytearray()
            self._check = _UTF8() if self._text else None
        self._message += part
        if self._check is not None:
            self._check.decode(part)  # what is missing at the end is found below
        if not last:
            return None
        message, self._message, self._check = self._message, None, None
        return message.decode() if self._text else bytes(message)


def frame(opcode: int, payload: bytes) -> bytes:
    """A server's frame: whole, and unmasked (RFC 6455, 5.2)."""
    first, length = _LAST | opcode, len(payload)
    if length < _MIDDLE:
        return bytes((first, length)) + payload
    if length < 1 << 8 * _MIDDLE_BYTES:
        return bytes((first, _MIDDLE)) + length.to_bytes(_MIDDLE_BYTES) + payload
    return bytes((first, _MIDDLE + 1)) + length.to_bytes(_LONG_BYTES) + payload
