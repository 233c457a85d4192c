"""Rows put in order: which ranks to write so that a sequence becomes the one that is wanted.

As few rows as can be get another rank, so that what another device moves meanwhile stays where that put it.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from syncserver.core import rank

Ranks = Mapping[str, str]
"""The rank of each row, by its key. A sequence goes by rank, and by key where ranks are equal."""


def arranged(wanted: Sequence[str], ranks: Ranks, at: datetime) -> dict[str, str]:
    """The rows (keys, each once) that need another rank so that all stand as `wanted`; those without one are new.

    `at`: when, for what comes to stand at the end. Where there is no room left, every row is ranked anew.
    """
    kept = _kept([key for key in wanted if key in ranks], ranks)
    found: dict[str, str] = {}
    low: str | None = None
    gap: list[str] = []
    for key in [*wanted, None]:
        if key is not None and key not in kept:
            gap.append(key)
            continue
        high = ranks[key] if key is not None else None
        if gap:
            made = _made(len(gap), low, high, at)
            if made is None:
                return _anew(wanted, ranks)
            found |= dict(zip(gap, made, strict=True))
        low, gap = high, []
    return found


def _anew(wanted: Sequence[str], ranks: Ranks) -> dict[str, str]:
    """The ranks of all rows, made anew: those that are others now."""
    return {key: made for key, made in zip(wanted, rank.spread(len(wanted)), strict=True) if ranks.get(key) != made}


def _kept(keys: Sequence[str], ranks: Ranks) -> frozenset[str]:
    """As many of these rows as can stay as they are, because they are in the right order already."""
    ends: list[tuple[str, str]] = []
    before: dict[str, str | None] = {}
    for key in keys:
        here = (ranks[key], key)
        length = bisect_left(ends, here)
        before[key] = ends[length - 1][1] if length else None
        ends[length:] = [here] if length == len(ends) else [here, *ends[length + 1 :]]
    found: set[str] = set()
    last = ends[-1][1] if ends else None
    while last is not None:
        found.add(last)
        last = before[last]
    return frozenset(found)


def _made(count: int, low: str | None, high: str | None, at: datetime) -> Sequence[str] | None:
    """So many ranks in order between these two; None where there is no room, or they would be too long."""
    if low is None and high is None:
        return rank.spread(count)
    if high is None and low is not None and low < rank.at(at):
        return [rank.at(at + timedelta(microseconds=place)) for place in range(count)]
    if low is not None and high is not None and low >= high:
        return None
    made = _between(count, low, high)
    return None if max(map(len, made)) > rank.CROWDED_CHARS else made


def _between(count: int, low: str | None, high: str | None) -> list[str]:
    """The same, the middle one first: so none is longer than needed."""
    if count == 0:
        return []
    half = count // 2
    middle = rank.between(low, high)
    return [*_between(half, low, middle), middle, *_between(count - half - 1, middle, high)]


@dataclass(frozen=True, slots=True)
class Spot:
    """Where in a sequence: at a position (from 0), before or after another row; past the last, or None: at the end."""

    position: int | None = None
    before: str | None = None
    after: str | None = None


def placed(others: Sequence[str], key: str, spot: Spot) -> list[str]:
    """The sequence with `key` put among the others; raises LookupError for a neighbour that is not among them."""
    place = len(others) if spot.position is None else spot.position
    neighbour = spot.before if spot.before is not None else spot.after
    if neighbour is not None:
        if neighbour not in others:
            raise LookupError(neighbour)
        place = others.index(neighbour) + (spot.after is not None)
    return [*others[:place], key, *others[place:]]
