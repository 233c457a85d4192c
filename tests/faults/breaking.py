"""Valid JSON messages broken in every way that a buggy or hostile client could: in their shape, then in their text.

Everything is drawn from the dice given, so a seed gives the same bytes again. Texts put in hold CANARY, which no
error may repeat.
"""

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

CANARY = "canary-bird"
LEVELS = 100_000
FRAME_BYTES = 1_048_576
_MANY = 100_000
_DAMAGES = (1, 1, 1, 2, 3)
_HUGE_SHARE = 0.01

Dice = random.Random
_Place = tuple[Any, Any]

NASTY: Sequence[Any] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, 1e308, -0.0),
    *(5e-324, float("nan"), float("inf"), float("-inf"), "", " ", "\0", "\x7f", "\x85", "\u2028", "\ufeff", "\uffff"),
    *("\ud800", "\udfff\ud800", "\u202e", "\U0001f4d6" * 40, "é" * 600, "a" * 513, "a" * 5_000, "../../etc/passwd"),
    *("%00", "%2e%2e%2f", "' OR 1=1 --", "$1", "{0}", "%s", "NaN", "null", "0", "-1", "1e400", "infinity"),
    *(
        "0000-00-00T00:00:00Z",
        "9999-12-31T23:59:60Z",
        "2026-02-30T00:00:00.000000Z",
        "2026-11-22",
        "2026-11-22T08:15:00",
    ),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "+12026-11-22T08:15:00Z", "1700000000"),
    *("00000000-0000-0000-0000-000000000000", "{00000000-0000-7000-8000-000000000001}", "0" * 36, "0" * 32),
    *(
        [],
        {},
        [[]],
        [None],
        [{}],
        {"": {}},
        {"\0": 1},
        {CANARY: CANARY},
        {"temp": CANARY},
        {"temp": None},
        {"temp": {}},
    ),
    *(
        {"$temp": CANARY},
        {"$temp": 5},
        {"$temp": {"$temp": "x"}},
        [CANARY] * 65,
        {f"{CANARY}{n}": n for n in range(70)},
    ),
    *(CANARY, f"{CANARY}\0", f"<script>{CANARY}</script>", f"{CANARY}\r\nSet-Cookie: a=b", f"\x1b[31m{CANARY}"),
)


def broken(dice: Dice, message: Any) -> bytes:
    """The text of a message that was valid, and now is (most probably) not."""
    if dice.random() < _HUGE_SHARE:
        return dice.choice(HUGE)(dice, message)
    damages = dice.choice(_DAMAGES)
    only_text = dice.random() < 0.25
    for _ in range(0 if only_text else damages):
        message = dice.choice(_SHAPES)(dice, copy.deepcopy(message))
    text = written(dice, message)
    return dice.choice(_TEXTS)(dice, text) if only_text or dice.random() < 0.15 else text


def written(dice: Dice, value: Any) -> bytes:
    """A value as text, as lax as Python's own JSON: NaN and lone surrogates too."""
    try:
        return json.dumps(value, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    except RecursionError:
        return b"[" * LEVELS


def flipped(dice: Dice, text: bytes) -> bytes:
    """A few of its bytes are others."""
    changed = bytearray(text or b"\0")
    for _ in range(dice.choice((1, 1, 2, 8))):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def truncated(dice: Dice, text: bytes) -> bytes:
    """A true prefix."""
    return text[: dice.randrange(len(text))] if text else text


# -- the shape ---------------------------------------------------------------


def _places(value: Any) -> list[_Place]:
    """Every place in a value: what holds it, and under which name or number."""
    found: list[_Place] = []
    rest = [value]
    while rest:
        held = rest.pop()
        members = held.items() if isinstance(held, dict) else enumerate(held)
        for name, member in members:
            found.append((held, name))
            if isinstance(member, dict | list):
                rest.append(member)
    return found


def _somewhere(change: Callable[[Dice, Any, Any], None]) -> Callable[[Dice, Any], Any]:
    """A change at one place of a message; what has no places is replaced."""

    def at_a_place(dice: Dice, message: Any) -> Any:
        places = _places(message) if isinstance(message, dict | list) else []
        if not places:
            return copy.deepcopy(dice.choice(NASTY))
        change(dice, *dice.choice(places))
        return message

    return at_a_place


def _replace(dice: Dice, held: Any, name: Any) -> None:
    held[name] = copy.deepcopy(dice.choice(NASTY))


def _remove(_: Dice, held: Any, name: Any) -> None:
    del held[name]


def _wrap(dice: Dice, held: Any, name: Any) -> None:
    value = held[name]
    many = [value] * (1 if isinstance(value, dict | list) else 600)
    held[name] = dice.choice(([value], {"temp": value}, {"$temp": value}, many))


def _as_text(_: Dice, held: Any, name: Any) -> None:
    held[name] = str(held[name])


def _add(dice: Dice, held: Any, _: Any) -> None:
    named = dice.choice((CANARY, "", "__proto__", "type", "owner", "offset", "$temp", "\ud800", "a" * 9_000))
    if isinstance(held, dict):
        held[named] = copy.deepcopy(dice.choice(NASTY))
    else:
        held.append(copy.deepcopy(dice.choice(NASTY)))


def _deepen(dice: Dice, held: Any, name: Any) -> None:
    for _ in range(dice.choice((17, 63, 64, 65, 200))):
        held[name] = {"a": held[name]} if dice.random() < 0.5 else [held[name]]


_SHAPES: Sequence[Callable[[Dice, Any], Any]] = (
    *[_somewhere(_replace)] * 6,
    *(_somewhere(change) for change in (_remove, _wrap, _as_text, _add, _deepen)),
)

# -- the text ----------------------------------------------------------------


def _inserted(dice: Dice, text: bytes) -> bytes:
    at = dice.randrange(len(text) + 1)
    rubbish = dice.choice(
        (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\0", b"//", b"\\u00", dice.randbytes(9))
    )
    return text[:at] + rubbish + text[at:]


def _doubled(dice: Dice, text: bytes) -> bytes:
    """Every key twice."""
    return b"{" + text.strip()[1:-1] + b"," + text.strip()[1:-1] + b"}" if dice.random() < 0.8 else text + text


def _nested(dice: Dice, text: bytes) -> bytes:
    """A number or a text becomes very many levels."""
    deep = dice.choice((b"[" * LEVELS + b"]" * LEVELS, b"[" * LEVELS, b'{"a":' * LEVELS + b"1" + b"}" * LEVELS))
    return text.replace(b'"', deep, 1) if dice.random() < 0.3 else _as_member(text, deep)


def _as_member(text: bytes, value: bytes) -> bytes:
    """An object with one member more; the name is one that frames and bodies know."""
    return text.rstrip()[:-1] + b',"data":' + value + b"}"


def _number(dice: Dice, text: bytes) -> bytes:
    numbers = (b"NaN", b"-Infinity", b"1e999", b"-1e999", b"9" * 5_000, b"0x10", b"01", b"1.", b"-", b"1e-9999999999")
    return _as_member(text, dice.choice(numbers))


def _recoded(dice: Dice, text: bytes) -> bytes:
    return text.decode("utf-8", "replace").encode(dice.choice(("utf-16", "utf-32-be", "utf-8-sig", "utf-7")))


def _other(dice: Dice, _: bytes) -> bytes:
    odd = (b"", b" ", b"null", b"0", b'"hello"', b"[]", b"{}", b"[{}]", b'{"type":null}', b'{"type":"no"}', b"{'a':1}")
    return dice.choice((*odd, b'{"type":["push"]}', b'{"type":{"push":1}}', dice.randbytes(40)))


_TEXTS: Sequence[Callable[[Dice, bytes], bytes]] = (
    *[flipped] * 4,
    *[truncated] * 2,
    *(_inserted, _inserted, _doubled, _number, _number, _recoded, _other),
)

# -- what is large -----------------------------------------------------------


def _deep(dice: Dice, message: Any) -> bytes:
    return _nested(dice, written(dice, message))


def _too_large(dice: Dice, message: Any) -> bytes:
    text = written(dice, message)
    return text + b" " * (FRAME_BYTES - len(text) + dice.choice((0, 1, 5_000)))


def _long(dice: Dice, message: Any) -> bytes:
    """One string or array that is as long as a frame may be."""
    value = dice.choice(
        (b'"' + b"a" * (FRAME_BYTES - 10_000) + b'"', b"[" + b"1," * _MANY + b"1]", b"[" + b"{}," * _MANY + b"{}]")
    )
    return _as_member(written(dice, message), value)


HUGE: Sequence[Callable[[Dice, Any], bytes]] = (_deep, _deep, _too_large, _long)
