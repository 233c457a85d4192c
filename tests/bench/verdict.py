"""Whether a server grew: pure sums over the samples of a run, for each thing that was counted.

Memory is judged by its trend under load after a warm-up, all else by what is left when everybody has gone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

MIB = 2**20
WARM_UP_S, WARM_UP_SHARE = 300.0, 0.25
RISE_SHARE, RISE_BYTES = 0.05, 10 * MIB
LEVEL = 10  # samples whose median is a level
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the server. `connections` are the database's of this server; None while it was away."""

    at_s: float
    memory_bytes: int
    files: int
    tasks: int
    sockets: int
    connections: int | None


@dataclass(frozen=True, slots=True)
class Run:
    """The samples of a run: at rest before, under load, and at rest after everybody left."""

    before: Sequence[Sample]
    load: Sequence[Sample]
    after: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Figures:
    """One thing's course. `wrong` says in words how it grew; None where it did not."""

    name: str
    start: float
    warm: float
    quarters: tuple[float, ...]
    peak: float
    end: float
    slope_an_hour: float
    wrong: str | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """Something counted. `slack`: how much more than at the start may be left; None: its trend is judged instead."""

    name: str
    of: Callable[[Sample], float | None]
    slack: int | None


MEASURES = (
    Measure("memory, MiB", lambda sample: sample.memory_bytes / MIB, None),
    Measure("files", lambda sample: sample.files, 3),
    Measure("tasks", lambda sample: sample.tasks, 2),
    Measure("sockets", lambda sample: sample.sockets, 0),
    Measure("connections", lambda sample: sample.connections, 3),  # two writers make theirs when they first write
)


def judge(run: Run) -> list[Figures]:
    """The figures of every measure; needs samples of all three parts."""
    return [_judged(measure, run) for measure in MEASURES]


def at_rest(start: Sequence[Sample], now: Sequence[Sample]) -> bool:
    """Whether no more is there than at the start; memory is not looked at."""
    levels = [(measure, level(values(measure, start)), level(values(measure, now))) for measure in MEASURES]
    return not any(_left(measure, was, is_) for measure, was, is_ in levels)


def values(measure: Measure, samples: Sequence[Sample]) -> list[float]:
    """What was counted, without the gaps."""
    return [value for value in map(measure.of, samples) if value is not None]


def level(series: Sequence[float]) -> float:
    """Where a series stands at its end."""
    return median(series[-LEVEL:]) if series else 0.0


def _judged(measure: Measure, run: Run) -> Figures:
    points = [(sample.at_s, value) for sample in run.load if (value := measure.of(sample)) is not None]
    warm, window = _parted(points)
    start, end = level(values(measure, run.before)), level(values(measure, run.after))
    wrong = growth(window) if measure.slack is None else _left(measure, start, end)
    return Figures(
        measure.name,
        start=start,
        warm=level([value for _, value in warm]),
        quarters=quarters([value for _, value in window]),
        peak=max((value for _, value in points), default=0.0),
        end=end,
        slope_an_hour=slope(window) * HOUR_S,
        wrong=wrong,
    )


def _left(measure: Measure, start: float, end: float) -> str | None:
    if measure.slack is None or end <= start + measure.slack:
        return None
    return f"{end:g} are left where {start:g} were, and {measure.slack} more would have been right"


Points = Sequence[tuple[float, float]]


def _parted(points: Points) -> tuple[Points, Points]:
    """The warm-up, and what is judged."""
    if not points:
        return [], []
    begun, ended = points[0][0], points[-1][0]
    warm_until = begun + min(WARM_UP_S, WARM_UP_SHARE * (ended - begun))
    return [p for p in points if p[0] <= warm_until], [p for p in points if p[0] > warm_until]


def growth(window: Points) -> str | None:
    """How memory (MiB by seconds) grew in the window, or None.

    It must have risen along the line through all points and from the second to the last quarter (half of the window
    apart, so that counts twice): caches that fill early and single peaks move one of the two, a leak moves both.
    """
    if len(window) < len(quarters([])):
        return None
    _, second, _, last = quarters([value for _, value in window])
    line = slope(window) * (window[-1][0] - window[0][0])
    rise = min(line, 2 * (last - second))
    allowed = max(RISE_SHARE * second, RISE_BYTES / MIB)
    return f"rose by {rise:.1f} over the window, {allowed:.1f} would have been right" if rise > allowed else None


def slope(points: Points) -> float:
    """Of the line of least squares; 0 where there is none."""
    if not points:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def quarters(series: Sequence[float]) -> tuple[float, float, float, float]:
    """The medians of the four quarters; 0 for one that is empty."""
    size = len(series) / 4
    parts = [series[round(n * size) : round((n + 1) * size)] for n in range(4)]
    first, second, third, last = (median(part) if part else 0.0 for part in parts)
    return first, second, third, last


def figures_table(figures: Sequence[Figures]) -> list[str]:
    """Aligned, a line for each thing; after it a sentence for each that grew."""
    heads = ("", "start", "warm", "Q1", "Q2", "Q3", "Q4", "peak", "end", "an hour")
    lines = ["  " + f"{heads[0]:<12}" + "".join(f"{head:>9}" for head in heads[1:])]
    for one in figures:
        numbers = (one.start, one.warm, *one.quarters, one.peak, one.end)
        lines.append(f"  {one.name:<12}" + "".join(f"{n:>9.5g}" for n in numbers) + f"{one.slope_an_hour:>+9.1f}")
    grown = [f"  {one.name}: {one.wrong}" for one in figures if one.wrong]
    return ["", *lines, "", *(grown or ["  Nothing grew."])]
