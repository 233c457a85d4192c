"""The results as a table for the terminal: a figure a line, its baselines below it."""

from tests.bench.report import Run
from tests.bench.result import Busy, Result, shown

_NAME = 58


def drawn(run: Run) -> str:
    """All of a run."""
    lines = [
        run.machine,
        "CPU: per cent of a core that server/database/generator used; a CPU s: in one second of the server's",
    ]
    part = ""
    for result in run.found.results:
        if result.part != part:
            part = result.part
            lines += ["", f"{part:<{_NAME}} {'':>11} {'ratio':>7}  CPU          {'a CPU s':>11}  promised"]
        lines += _rows(result)
    return "\n".join(lines)


def _rows(result: Result) -> list[str]:
    name = f"{result.name} [{result.unit}]" if result.unit else result.name
    promised = "; ".join(f"{p.words()}: {_KEPT[result.kept(p)]}" for p in result.promises)
    rows = [_row(f"  {name}", result.value, "", result.busy, result.unit, promised)]
    for baseline in result.baselines:
        ratio = f"{result.ratio(baseline.name) or 0:.2f}"
        rows.append(_row(f"    {baseline.name}", baseline.value, ratio, baseline.busy, result.unit))
    return [*rows, f"    {result.note}"] if result.note else rows


def _row(name: str, value: float, ratio: str, busy: Busy | None, unit: str, promised: str = "") -> str:
    words, each = (busy.words(), busy.each(value, unit)) if busy else ("", "")
    return f"{name:<{_NAME}} {shown(value):>11} {ratio:>7}  {words:<12} {each:>11}  {promised}".rstrip()


_KEPT = {True: "met", False: "MISSED", None: "not known"}
