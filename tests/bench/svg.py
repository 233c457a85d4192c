"""Bars and lines as plain SVG: no script, no font to fetch, legible on white and on black."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from tests.bench.result import shown

_COLOURS = ("#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#9b8a00", "#e03e3e", "#64748b")
_WIDTH, _LEFT, _RIGHT, _TOP = 760, 190, 80, 40
_INK = "#808890"


@dataclass(frozen=True)
class Bar:
    """One bar; those of one `group` stand together."""

    group: str
    name: str
    value: float


@dataclass(frozen=True)
class Axis:
    """What a direction shows, and between which values."""

    title: str
    least: float
    most: float
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """How far along it a value is, from 0 to 1."""
        if self.logarithmic:
            low, high = math.log10(self.least), math.log10(self.most)
            return (math.log10(max(value, self.least)) - low) / (high - low)
        return (value - self.least) / (self.most - self.least)

    def ticks(self) -> list[float]:
        """Round values along it."""
        if self.logarithmic:
            return [10.0**n for n in range(math.ceil(math.log10(self.least)), math.floor(math.log10(self.most)) + 1)]
        step = 10 ** math.floor(math.log10(self.most - self.least))
        step = next(s for s in (step / 5, step / 2, step, 2 * step) if (self.most - self.least) / s <= 6)
        return [self.least + step * n for n in range(int((self.most - self.least) / step) + 1)]


def axis(title: str, values: Sequence[float], *, logarithmic: bool = False) -> Axis:
    """One on which all of these can be seen."""
    if logarithmic:
        least = 10.0 ** math.floor(math.log10(max(min(values), 1e-3)))
        return Axis(title, least, max(10.0 ** math.ceil(math.log10(max(values))), 10 * least), logarithmic=True)
    return Axis(title, 0.0, 1.05 * max([*values, 1e-9]))


def bars(title: str, unit: str, found: Sequence[Bar]) -> str:
    """Horizontal bars in their groups, each with its value."""
    across = axis(unit, [bar.value for bar in found])
    names = list(dict.fromkeys(bar.name for bar in found))
    parts, y, group = [], _TOP, ""
    for bar in found:
        if bar.group != group:
            group = bar.group
            y += 26
            parts.append(_text(8, y - 6, group, weight="bold"))
        long = across.share(bar.value) * (_WIDTH - _LEFT - _RIGHT)
        colour = _COLOURS[names.index(bar.name) % len(_COLOURS)]
        parts.append(_text(_LEFT - 8, y + 12, bar.name, anchor="end"))
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="{max(long, 1):.1f}" height="15" fill="{colour}"/>')
        parts.append(_text(_LEFT + long + 6, y + 12, shown(bar.value)))
        y += 19
    return _whole(f"{title} [{unit}]", y + 12, parts)


def lines(title: str, across: Axis, up: Axis, found: dict[str, Sequence[tuple[float, float]]]) -> str:
    """Lines over a grid, with their names below."""
    left, bottom, height = 70, 330, 330 - _TOP - 12
    wide = _WIDTH - left - 30

    def at(x: float, y: float) -> tuple[float, float]:
        return left + across.share(x) * wide, bottom - up.share(y) * height

    parts = [*_grid(across, up, left, bottom, wide, height)]
    for number, (name, points) in enumerate(found.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [at(x, y) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(places) <= 40:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        x, y = left + (number % 2) * wide / 2, bottom + 52 + 18 * (number // 2)
        parts.append(f'<rect x="{x}" y="{y - 9}" width="18" height="4" fill="{colour}"/>')
        parts.append(_text(x + 24, y - 3, name))
    return _whole(title, bottom + 58 + 18 * ((len(found) + 1) // 2), parts)


def _grid(across: Axis, up: Axis, left: float, bottom: float, wide: float, height: float) -> list[str]:
    parts = [_text(left, _TOP, up.title, anchor="start"), _text(left + wide, bottom + 32, across.title, anchor="end")]
    for value in up.ticks():
        y = bottom - up.share(value) * height
        parts.append(_rule(left, y, left + wide, y))
        parts.append(_text(left - 6, y + 4, f"{value:,g}", anchor="end"))
    for value in across.ticks():
        x = left + across.share(value) * wide
        parts.append(_rule(x, bottom, x, bottom + 4))
        parts.append(_text(x, bottom + 17, f"{value:,.0f}", anchor="middle"))
    return parts


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{_INK}" stroke-width="0.5"'
        ' stroke-opacity="0.5"/>'
    )


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'


def _whole(title: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}"'
        f' font-family="system-ui, sans-serif" font-size="12" fill="{_INK}" role="img">'
    )
    name = f'<text x="8" y="20" font-size="15" font-weight="bold">{escape(title)}</text>'
    return "\n".join([head, f"<title>{escape(title)}</title>", name, *parts, "</svg>", ""])
