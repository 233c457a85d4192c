"""What a run found, as pictures: throughput as bars; delay against load and memory against connections as lines."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench import svg
from tests.bench.relays.running import OURS
from tests.bench.result import Found, Line, Result


@dataclass(frozen=True)
class Picture:
    """What it shows, and how."""

    title: str
    svg: str


@dataclass(frozen=True)
class _Plot:
    title: str
    across: str
    up: str
    logarithmic: bool


_PLOTS = {
    "delay": _Plot("From write to the other device, against load", "writes a second", "ms", logarithmic=True),
    "memory": _Plot("Memory of an idle connection", "connections", "KiB a connection", logarithmic=False),
    "pauses": _Plot("The loop's longest pause in each second, at half load", "seconds", "ms", logarithmic=False),
}
_BARS = {
    "wire": ("Relays from memory, one core", "deliveries a second"),
    "handshakes": ("Connections to ready, one core", "sockets a second"),
    "writes": ("Writes, acknowledged and durable", "writes a second"),
}


def drawn(found: Found) -> dict[str, Picture]:
    """Each by the name of its file; only what was measured."""
    pictures = {}
    for part, (title, unit) in _BARS.items():
        if results := [result for result in found.results if result.part == part]:
            pictures[part] = Picture(title, svg.bars(title, unit, _bars(results)))
    for name, plot in _PLOTS.items():
        if lines := [line for line in found.lines if line.plot == name and line.points]:
            pictures[name] = Picture(plot.title, _lines(plot, lines))
    return pictures


def _bars(results: Sequence[Result]) -> list[svg.Bar]:
    return [
        svg.Bar(result.name, name, value)
        for result in results
        for name, value in [(OURS, result.value), *((b.name, b.value) for b in result.baselines)]
    ]


def _lines(plot: _Plot, lines: Sequence[Line]) -> str:
    across = svg.axis(plot.across, [x for line in lines for x, _ in line.points])
    up = svg.axis(plot.up, [y for line in lines for _, y in line.points], logarithmic=plot.logarithmic)
    return svg.lines(plot.title, across, up, {line.name: line.points for line in lines})
