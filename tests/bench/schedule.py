"""What goes wrong in a soak and when, drawn from its seed before it begins: pure, and the same for the same seed."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random

LAST_SHARE = 0.95  # of the run: what comes later could not show its effect
MOST_SHARE = 0.6  # of the run between two of a kind, so that a short one has each kind too


class Kind(StrEnum):
    """What goes wrong; how it is done stands in `faults`."""

    KILL = "PostgreSQL killed"
    LISTENER = "doorbell connections ended"
    POOL = "pool connections ended"
    OUTAGE = "outages of all networks"
    STALL = "stalled links"
    DEAF = "readers that stopped reading"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A kind comes every so many seconds in the mean, and lasts between two lengths. `share` of the links it hits."""

    every_s: float
    lasts_s: tuple[float, float] = (0.0, 0.0)
    share: float = 1.0


PATTERNS = {
    Kind.KILL: Pattern(200.0),
    Kind.LISTENER: Pattern(50.0),
    Kind.POOL: Pattern(50.0),
    Kind.OUTAGE: Pattern(110.0, (1.0, 8.0)),
    Kind.STALL: Pattern(15.0, (1.0, 10.0), 0.1),
    Kind.DEAF: Pattern(25.0, (5.0, 40.0), 0.05),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One of them, `at_s` after the begin. `seed`: of the choice whom it hits."""

    at_s: float
    kind: Kind
    lasts_s: float
    seed: str


def schedule(seed: int, seconds: float) -> list[Fault]:
    """All faults of a run by time; at least one of each kind."""
    faults = [fault for kind in Kind for fault in _of(kind, seed, seconds)]
    return sorted(faults, key=lambda fault: fault.at_s)


def _of(kind: Kind, seed: int, seconds: float) -> list[Fault]:
    pattern, rng, faults = PATTERNS[kind], Random(f"{seed}:{kind}"), list[Fault]()
    every_s = min(pattern.every_s, MOST_SHARE * seconds)
    at_s = every_s * rng.uniform(0.3, 1.0)
    while at_s < LAST_SHARE * seconds:
        lasts_s = min(rng.uniform(*pattern.lasts_s), (seconds - at_s) / 2)
        faults.append(Fault(at_s, kind, lasts_s, f"{seed}:{kind}:{len(faults)}"))
        at_s += every_s * rng.uniform(0.5, 1.5)
    return faults
