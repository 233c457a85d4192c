"""A whole run: on what machine, what was found; as JSON, and as docs/performance.md with its pictures.

What is generated stands between two marks there; what a person wrote around them stays.
"""

import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from tests.bench import pictures
from tests.bench.result import Found, Result, shown
from tests.bench.scale import Scale

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- what `make bench-full` found: written by it -->", "<!-- to here -->"
_HEAD = ("| | figure | beside | CPU | promised |", "| --- | ---: | --- | --- | --- |")
_KEPT = {True: "met", False: "**missed**", None: "not known"}


@dataclass
class Run:
    """What came of one run of the bench."""

    at: str
    machine: str
    scale: Scale
    found: Found = field(default_factory=Found)
    wrong: dict[str, str] = field(default_factory=dict)
    took_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def here(cls, scale: Scale) -> "Run":
        """One that begins now, on this machine."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        machine = (
            f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, {platform.system()} {platform.release()},"
            f" Python {platform.python_version()}; load before: {os.getloadavg()[0]:.1f};"
            f" medians of {scale.turns}, {scale.seconds:g} s each"
        )
        return cls(datetime.now(UTC).isoformat(timespec="minutes"), machine, scale)

    def as_json(self) -> str:
        """All of it."""
        whole: dict[str, Any] = {
            "at": self.at,
            "machine": self.machine,
            "scale": asdict(self.scale),
            "results": [result.as_json() for result in self.found.results],
            "lines": [asdict(line) for line in self.found.lines],
            "wrong": self.wrong,
            "took_s": self.took_s,
        }
        return orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def write(run: Run, docs: Path = DOCS) -> None:
    """Put what was found into docs/performance.md, with pictures and the JSON beside it."""
    beside = docs / "performance"
    beside.mkdir(exist_ok=True)
    (beside / "performance.json").write_text(run.as_json())
    drawn = pictures.drawn(run.found)
    for name, picture in drawn.items():
        (beside / f"{name}.svg").write_text(picture.svg)
    generated = "\n".join([BEGIN, "", *_written(run), *_pictured(drawn), END])
    page = docs / "performance.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + generated + rest.partition(END)[2])


def _pictured(drawn: dict[str, "pictures.Picture"]) -> list[str]:
    return [f"![{picture.title}](performance/{name}.svg)\n" for name, picture in drawn.items()]


def _written(run: Run) -> list[str]:
    lines = [f"Measured {run.at}: {run.machine}.", "", *_HEAD]
    part = ""
    for result in run.found.results:
        if result.part != part:
            part = result.part
            lines.append(f"| **{part}** | | | | |")
        lines.append(_row(result))
    lines += [f"\nNo figures of {name}: {sentence}" for name, sentence in run.wrong.items()]
    return [*lines, ""]


def _row(result: Result) -> str:
    beside = "<br>".join(
        f"{baseline.name}: {shown(baseline.value)} ({result.ratio(baseline.name) or 0:.2f})"
        + (f", CPU {baseline.busy.words()}" if baseline.busy else "")
        for baseline in result.baselines
    )
    promised = "<br>".join(f"{promise.words()}: {_KEPT[result.kept(promise)]}" for promise in result.promises)
    name = result.name + (f"<br>{result.note}" if result.note else "")
    return f"| {name} | {shown(result.value)} {result.unit} | {beside} | {result.busy.words()} | {promised} |"
