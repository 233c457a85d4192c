"""What can go wrong on a connection, drawn from a seed: the same seed draws the same ills in the same order."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What befalls one direction of a connection; each is described where `proxy` does it."""

    CUT = "cut"
    TRUNCATE = "truncate"
    HALF_CLOSE = "half-close"
    STALL = "stall"
    SLOW = "slow"
    SWALLOW = "swallow"


@dataclass(frozen=True, slots=True)
class Ill:
    """Strikes one direction after `at_bytes` bytes of it have passed. `for_s`: of a stall; None is for ever.

    `bytes_a_second`: of slow, in pieces of at most `piece_bytes`.
    """

    kind: Kind
    at_bytes: int = 0
    for_s: float | None = None
    bytes_a_second: int = 20_000
    piece_bytes: int = 64


@dataclass(frozen=True, slots=True)
class Fate:
    """What one connection is in for: closed at connect, sockets refused, and an ill for each direction."""

    refuse: bool = False
    refuse_socket: bool = False
    there: Ill | None = None
    back: Ill | None = None


HEALTHY = Fate()
_WEIGHTS: Mapping[Kind, int] = {
    Kind.CUT: 4,
    Kind.TRUNCATE: 4,
    Kind.HALF_CLOSE: 2,
    Kind.STALL: 3,
    Kind.SLOW: 3,
    Kind.SWALLOW: 2,
}


class Ills:
    """Draws the fate of each connection. `share`: how many directions of a hundred are ill; refusals come on top."""

    def __init__(
        self, seed: int | str, share: float = 0.2, refused: float = 0.03, sockets_refused: float = 0.1
    ) -> None:
        self._random = random.Random(seed)
        self._share = share
        self._refused = refused
        self._sockets_refused = sockets_refused

    def draw(self) -> Fate:
        """The next connection's fate."""
        return Fate(
            refuse=self._random.random() < self._refused,
            refuse_socket=self._random.random() < self._sockets_refused,
            there=self._ill(),
            back=self._ill(),
        )

    def _ill(self) -> Ill | None:
        dice = self._random
        sick, kind = dice.random() < self._share, dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        ill = Ill(
            kind,
            at_bytes=int(dice.paretovariate(0.7) * 150) % 20_000,
            for_s=None if dice.random() < 0.2 else dice.uniform(0.05, 1.0),
            bytes_a_second=dice.choice([1_000, 5_000, 50_000]),
            piece_bytes=dice.choice([1, 7, 64]),
        )
        return ill if sick else None
