"""Malformed messages on a socket: every frame of the protocol broken as JSON, and WebSockets broken as bytes."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tests.faults import rawsocket
from tests.faults.breaking import CANARY, FRAME_BYTES, HUGE, broken, flipped
from tests.faults.rawsocket import BINARY, CLOSE, PING, PONG, frame

Dice = random.Random
_STAMP = "2026-11-22T08:15:00.000000Z"
_BYTES_SHARE = 0.3
_PATIENCE_S = 0.3
_BROKEN_WEBSOCKET = frozenset({1002, 1003, 1007, 1009})
"""What RFC 6455 itself has for bytes that are no WebSocket, no text, or too much."""


@dataclass(frozen=True, slots=True)
class Message:
    """What to send to a socket.

    `before`: in place of the hello. `cut`: the line is cut after it. `patience_s`: how long an answer may be missing,
    where the server may rightly wait for more. `codes`: RFC 6455's own that may close it; `closing`: it is a close.
    """

    kind: str
    sent: bytes
    before: bool = False
    cut: bool = False
    patience_s: float | None = None
    codes: frozenset[int] = frozenset()
    closing: bool = False


@dataclass
class Known:
    """What a client knows of the server by now, for messages that are nearly right."""

    token: str = ""
    cursor: str = "0f3c.c10ce1ca.7"
    conflict: str = "5c7f2b0e-1d6a-4c1b-9b57-0e6f3f0a9d42"
    session: str = "5c7f2b0e-1d6a-4c1b-9b57-0e6f3f0a9d43"


def valid(dice: Dice, known: Known) -> Mapping[str, dict[str, Any]]:
    """A good frame of each kind."""
    digests = {"progress": {"rows": 1, "xor": "f65f461473c12545"}}
    hello = {
        "token": known.token,
        "device": {"id": "phone", "name": "a phone", "app": "reader 1.0"},
        "client_id": "phone/reader",
        "sent_at": _STAMP,
        "protocol": [1, 1],
    }
    bodies: dict[str, dict[str, Any]] = {
        "hello": hello,
        "subscribe": {"resources": dice.choice((None, ["progress"])), "cursor": dice.choice((None, known.cursor))},
        "unsubscribe": {},
        "push": {"mutations": [mutation(dice) for _ in range(dice.choice((1, 1, 2, 3)))]},
        "ping": {"sent_at": _STAMP},
        "auth": {"token": known.token},
        "verify": {"cursor": known.cursor, "digests": digests},
        "presence": {"state": {"reading": "moby-dick"}},
        "broadcast": {"topic": "page-turn", "data": {"to": 12}},
    }
    return {kind: {"type": kind, **body} for kind, body in bodies.items()}


def mutation(dice: Dice) -> dict[str, Any]:
    """A good write of any kind, with every field that there is."""
    locator = {
        "href": "chapter-1.xhtml",
        "type": "application/xhtml+xml",
        "title": "Loomings",
        "locations": {"fragments": ["p12"], "progression": 0.5, "position": 3, "totalProgression": 0.1},
        "text": {"before": "Call me", "highlight": "Ishmael"},
    }
    fields = {"series_id": "whales", "locator": locator, "position": "/body/p[12]", "position_kind": "xpointer"}
    numbers = {"percentage": 0.25, "furthest": 0.5, "status": "reading"}
    op = dice.choice(("put", "put", "patch", "remove"))
    return {
        "mutation_id": str(UUID(int=dice.getrandbits(128), version=4)),
        "resource": "progress",
        "key": dice.choice(("moby-dick", "emma", "ulysses")),
        "op": op,
        "data": None if op == "remove" else {**fields, **numbers},
        "base": dice.choice((None, dice.randrange(50))),
        "updated_at": f"2026-11-22T08:{dice.randrange(60):02}:{dice.randrange(60):02}.000000Z",
        "after": [str(UUID(int=dice.getrandbits(128), version=4))] if dice.random() < 0.1 else [],
        "policy": dice.choice((None, None, "last-write-wins", "server-wins", "client-wins")),
    }


def messages(dice: Dice, known: Known) -> Iterator[Message]:
    """Malformed messages without end."""
    while True:
        yield dice.choice(_BYTES)(dice, known) if dice.random() < _BYTES_SHARE else _json(dice, known)


def largest_messages(known: Known) -> list[Message]:
    """One of each kind of what is very large."""
    dice = Dice(0)
    push = valid(dice, known)["push"]
    return [Message("largest", frame(huge(dice, push)), codes=_BROKEN_WEBSOCKET) for huge in HUGE]


def _json(dice: Dice, known: Known) -> Message:
    kinds = valid(dice, known)
    kind = dice.choice((*kinds, "push", "push", "push"))
    text = broken(dice, kinds[kind])
    opcode = BINARY if dice.random() < 0.1 else rawsocket.TEXT
    sent = frame(text, opcode)
    return Message(f"json {kind}", sent, before=kind == "hello" and dice.random() < 0.9, codes=_BROKEN_WEBSOCKET)


# -- bytes -------------------------------------------------------------------


def _ping(dice: Dice) -> bytes:
    """A good text of any length below 200."""
    return json.dumps({"type": "ping", "x": CANARY * dice.randrange(12)}).encode()


def _bad_frame(dice: Dice, _: Known) -> Message:
    text = _ping(dice)
    wrong = (
        frame(text, mask=None),
        frame(text, reserved=dice.randrange(1, 8)),
        frame(text, dice.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15))),
        frame(b"x" * 126, dice.choice((PING, PONG, CLOSE))),
        frame(b"x", dice.choice((PING, PONG)), last=False),
        frame(text, 0),
        frame(text, last=False) + frame(text),
        frame(b"\xff\xfe\xfd"),
        frame(b"\xe2\x82", last=False) + frame(b"\xff", 0),
        frame(b"", claimed=FRAME_BYTES + 1),
        frame(b"", claimed=2**62, width=8),
        frame(b"", claimed=2**63 + 5, width=8),
        frame(text, width=8),
        frame(text, width=2),
    )
    return Message("bad frame", dice.choice(wrong), codes=_BROKEN_WEBSOCKET)


def _bad_close(dice: Dice, _: Known) -> Message:
    codes = (0, 1, 999, 1000, 1001, 1004, 1005, 1006, 1011, 1015, 1016, 2999, 3000, 4501, 4999, 5000, 65535)
    payloads = (b"", b"\x03", dice.choice(codes).to_bytes(2, "big"), b"\x03\xe8\xff\xff", b"\x03\xe8" + b"a" * 123)
    return Message("bad close", frame(dice.choice(payloads), CLOSE), codes=_BROKEN_WEBSOCKET, closing=True)


def _in_pieces(dice: Dice, known: Known) -> Message:
    """A good or broken push in pieces, with control frames between them."""
    text = broken(dice, valid(dice, known)["push"])[:65_536]
    at = sorted(dice.randrange(len(text) + 1) for _ in range(dice.choice((1, 2, 9))))
    pieces = [text[start:end] for start, end in zip((0, *at), (*at, len(text)), strict=True)]
    control = dice.choice((b"", frame(b"hi", PING), frame(b"", PONG), frame(b"x" * 125, PING) * 3))
    sent = b"".join(
        frame(piece, 0 if n else rawsocket.TEXT, last=n == len(pieces) - 1) + control for n, piece in enumerate(pieces)
    )
    return Message("in pieces", sent, codes=_BROKEN_WEBSOCKET)


def _very_many_pieces(dice: Dice, _: Known) -> Message:
    if dice.random() > 0.02:
        return _bad_close(dice, _)
    sent = frame(b"", last=False) + frame(b"", 0, last=False) * dice.choice((4_000, 5_000))
    return Message("very many pieces", sent + frame(b"{}", 0), codes=_BROKEN_WEBSOCKET)


def _half(dice: Dice, known: Known) -> Message:
    """The line is cut in the middle of a frame: nothing of it may take effect."""
    sent = frame(json.dumps(valid(dice, known)["push"]).encode())
    return Message("half a frame", sent[: dice.randrange(len(sent))], cut=True)


def _flipped_head(dice: Dice, _: Known) -> Message:
    """Bits of a frame's head are others: the server may wait for more, for a while."""
    sent = frame(_ping(dice))
    sent = flipped(dice, sent[:8]) + sent[8:]
    return Message("flipped head", sent, patience_s=_PATIENCE_S, codes=_BROKEN_WEBSOCKET, closing=True)


def _rubbish(dice: Dice, _: Known) -> Message:
    rubbish = dice.randbytes(dice.choice((1, 2, 14, 200)))
    sent = dice.choice((rubbish, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 64))
    return Message("rubbish", sent, patience_s=_PATIENCE_S, codes=_BROKEN_WEBSOCKET, closing=True)


def _early(dice: Dice, known: Known) -> Message:
    """Something else in place of the hello."""
    kinds = valid(dice, known)
    kind = dice.choice([name for name in kinds if name != "hello"])
    return Message("no hello", frame(json.dumps(kinds[kind]).encode()), before=True)


_BYTES: Sequence[Callable[[Dice, Known], Message]] = (
    *(_bad_frame, _bad_frame, _bad_frame, _bad_close, _in_pieces, _in_pieces, _very_many_pieces),
    *(_half, _half, _flipped_head, _rubbish, _early),
)
