"""What a run shows: a progress line while it goes on, a table at its end, and the first few things that are wrong."""

import asyncio
import time
from collections.abc import Iterator
from typing import TextIO

from tests.bench.simulation import Outcome, Simulation

FIRST_FEW, LINE_CHARS = 10, 300
TERMINAL_S, FILE_S = 0.5, 10.0


class Progress:
    """One line, rewritten on a terminal; elsewhere a line every ten seconds."""

    def __init__(self, simulation: Simulation, out: TextIO) -> None:
        self._simulation = simulation
        self._out = out
        self._rewrites = out.isatty()
        self._begun = time.monotonic()
        self._phase = ""

    def phase(self, name: str) -> None:
        """Another part of the run begins."""
        self._phase = name
        self._show()

    async def run(self) -> None:
        """Show until cancelled."""
        while True:
            await asyncio.sleep(TERMINAL_S if self._rewrites else FILE_S)
            self._show()

    def end(self) -> None:
        """Leave the line."""
        if self._rewrites:
            print(file=self._out)

    def _show(self) -> None:
        devices = [device for one in self._simulation.readers for device in one.devices.values()]
        writes = sum(len(ledger.writes) for ledger in self._simulation.ledgers)
        heard = sum(len(changes) for ledger in self._simulation.ledgers for changes in ledger.heard.values())
        away = sum(device.away for device in devices)
        line = f"{time.monotonic() - self._begun:5.0f} s  {self._phase:<18}  {writes:7} writes  {heard:8} delivered"
        line += f"  {away:4} of {len(devices)} devices offline"
        print(
            f"\r{line}\x1b[K" if self._rewrites else line,
            end="" if self._rewrites else "\n",
            file=self._out,
            flush=True,
        )


def table(outcome: Outcome) -> list[str]:
    """The account, aligned; what must be 0 says so."""
    rows = list(_rows(outcome))
    wide = max(len(name) for name, _, _ in rows)
    return ["", *(f"  {name:<{wide}}  {value:>10}  {note}".rstrip() for name, value, note in rows), ""]


def _rows(outcome: Outcome) -> Iterator[tuple[str, str, str]]:
    report, zero = outcome.report, "must be 0"
    yield "devices", str(outcome.devices), f"{outcome.unplanned} sockets ended without having been cut"
    rate = report.writes / outcome.seconds if outcome.seconds else 0.0
    yield "writes", str(report.writes), f"{rate:.0f} a second; {report.doubled} sent twice, {report.resent} resent"
    yield "refused writes", str(report.superseded), ""
    yield "concurrent, won", str(report.conflicts_won), ""
    yield "concurrent, lost", str(report.conflicts_lost), ""
    yield "changes due", str(report.due), f"{report.changes} changes, to each device of their reader"
    yield "delivered", str(report.delivered), f"{report.folded} more were folded into a later change of their row"
    yield "lost", str(report.lost), zero
    yield (
        "repeated",
        str(report.repeated),
        f"{zero}; {outcome.wire_rows} rows looked at on {outcome.observed} wires too",
    )
    yield "out of order", str(report.out_of_order), zero
    yield "differing states", str(report.differing), f"{zero}: every device and the server, against the pure resolver"
    yield "differing verdicts", str(report.verdicts), zero
    yield "overtaken", str(report.overtaken), f"{zero}: refused for the same device's own later write"
    yield "rejected", str(report.rejected), zero
    yield "unanswered", str(report.unanswered), zero
    yield "delay p50", _ms(report.delay_s(0.5)), f"of {len(report.delays)} deliveries to another live device"
    yield "delay p99", _ms(report.delay_s(0.99)), ""
    yield "largest stamp error", _ms(report.stamp_error_s), "of a write's corrected stamp"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms"


def cpu_line(outcome: Outcome, served: float | None, stopped_s: float | None) -> str:
    """Who had how much to do: 1.0 is a whole core, which is all that one Python process can use."""
    own = outcome.own_cpu_s / outcome.seconds if outcome.seconds else 0.0
    line = f"  The simulation used {own:.2f} cores"
    if served is not None:
        line += f", the server {served:.2f} (from start to stop, without its database)"
    return line + (f"; it stopped in {stopped_s:.1f} s." if stopped_s is not None else ".")


def wrong_lines(outcome: Outcome) -> list[str]:
    """A sentence if all is well; else the first few things that are not."""
    wrong = outcome.late + outcome.report.wrong
    if outcome.good:
        return ["  Everything is accounted for."]
    shown = [f"  {sentence[:LINE_CHARS]}" for sentence in wrong[:FIRST_FEW]]
    more = len(wrong) - len(shown)
    return [*shown, *([f"  ... and {more} more"] if more > 0 else [])]
