"""One figure of the bench: the median of its turns, baselines of the same run, what was busy, what is promised."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

from tests.bench.figures import Figure


@dataclass(frozen=True)
class Busy:
    """Shares of one core that each side used while it was measured (1.0: all of it); None: not known here."""

    server: float | None = None
    database: float | None = None
    generator: float | None = None

    def words(self) -> str:
        """As in the table: in per cent of a core."""
        shares = (self.server, self.database, self.generator)
        return "/".join("-" if share is None else f"{100 * share:.0f}" for share in shares)

    def each(self, rate: float, unit: str) -> str:
        """A rate for each second of CPU that the server used: what a busy machine does not change; "" where unknown."""
        return f"{rate / self.server:,.0f}" if self.server and unit.endswith("/s") else ""


@dataclass(frozen=True)
class Baseline:
    """What the figure stands beside, in the same unit."""

    name: str
    value: float
    busy: Busy | None = None


@dataclass(frozen=True)
class Promise:
    """What was promised: at least or at most so much; of the figure, or of its ratio to a baseline."""

    least_or_most: Literal["least", "most"]
    value: float
    of: str | None = None

    def words(self) -> str:
        """As in the table."""
        sign = "≥" if self.least_or_most == "least" else "≤"
        return f"{sign} {_short(self.value)}" + (f" of {self.of}" if self.of else "")


@dataclass(frozen=True)
class Result:
    """`turns`: what was measured, each time; the figure is their median."""

    part: str
    name: str
    unit: str
    turns: Sequence[float]
    baselines: Sequence[Baseline] = ()
    promises: Sequence[Promise] = ()
    busy: Busy = Busy()
    note: str = ""

    @property
    def value(self) -> float:
        """The median."""
        return median(self.turns)

    def ratio(self, name: str | None = None) -> float | None:
        """To the baseline of this name (None: the first); None where it was not measured."""
        for baseline in self.baselines:
            if name in {None, baseline.name} and baseline.value:
                return self.value / baseline.value
        return None

    def kept(self, promise: Promise) -> bool | None:
        """Whether it is; None where the baseline that it names was not measured."""
        value = self.value if promise.of is None else self.ratio(promise.of)
        if value is None:
            return None
        return value >= promise.value if promise.least_or_most == "least" else value <= promise.value

    def as_json(self) -> dict[str, Any]:
        """All of it, with what follows from it."""
        promises = [{**asdict(p), "kept": self.kept(p)} for p in self.promises]
        return {**asdict(self), "value": self.value, "promises": promises}


@dataclass(frozen=True)
class Line:
    """One line of a plot."""

    plot: str
    name: str
    points: Sequence[tuple[float, float]]


@dataclass
class Found:
    """What a part of the bench found."""

    results: list[Result] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def add(self, other: "Found") -> None:
        """Take what another found, too."""
        self.results += other.results
        self.lines += other.lines


def of_figures(part: str, figures: Sequence[Figure]) -> Found:
    """Figures of the older measurements, whose unit stands in their name."""
    return Found([_of_figure(part, figure) for figure in figures])


def _of_figure(part: str, figure: Figure) -> Result:
    if "promised" in figure.baseline_name:
        note = figure.baseline_name.partition("(")[2].removesuffix(")")
        return Result(part, figure.name, "", [figure.ours], promises=[Promise("most", figure.baseline)], note=note)
    return Result(part, figure.name, "", [figure.ours], [Baseline(figure.baseline_name, figure.baseline)])


def shown(value: float) -> str:
    """A number with as many digits as mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"
