"""Where a row stands in a sequence: texts that sort bytewise, with room for another between any two.

To move one row changes that row alone, so two devices that reorder at once both keep what the other did. A rank is a
fraction between 0 and 1 in base 62, without its "0." and without zeros at the end.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

MAX_CHARS = 255
CROWDED_CHARS = 128
"""Past this, the ranks of a sequence are to be made anew: each row between the same two makes them a little longer."""

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE = len(_DIGITS)
_LAST = _DIGITS[-1]
_BEGAN = datetime(1970, 1, 1, tzinfo=UTC)
_AT_CHARS = 9
_ROOM = 4


def between(low: str | None, high: str | None) -> str:
    """A rank after `low` and before `high` (None: no bound there); raises ValueError where those are not in order."""
    if low is not None and high is not None and low >= high:
        raise ValueError("there is nothing between these")
    return _between(low or "", high)


def _between(low: str, high: str | None) -> str:
    if high is not None:
        same = next(n for n, digit in enumerate(high) if digit != (low[n] if n < len(low) else _DIGITS[0]))
        if same:
            return high[:same] + _between(low[same:], high[same:])
    under = _DIGITS.index(low[0]) if low else 0
    over = _DIGITS.index(high[0]) if high is not None else _BASE
    if over - under > 1:
        return _DIGITS[(under + over) // 2]
    if high is not None and len(high) > 1:
        return high[0]
    return _DIGITS[under] + _between(low[1:], None)


def spread(count: int) -> Sequence[str]:
    """So many ranks in order, with the same room between all of them, and all before those of `at`."""
    chars = 1
    while (_BASE - 1) * _BASE ** (chars - 1) < (count + 1) * _ROOM:
        chars += 1
    whole = (_BASE - 1) * _BASE ** (chars - 1)
    return [_written(whole * (place + 1) // (count + 1), chars) for place in range(count)]


def at(moment: datetime) -> str:
    """The rank of a row that says nothing of its place: at the end, behind those of which that was said before."""
    microseconds = max(1, (moment - _BEGAN) // timedelta(microseconds=1))
    return _LAST + _written(microseconds, _AT_CHARS)


def _written(number: int, chars: int) -> str:
    digits = ""
    for _ in range(chars):
        number, digit = divmod(number, _BASE)
        digits = _DIGITS[digit] + digits
    return digits.rstrip(_DIGITS[0])
