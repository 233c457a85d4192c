"""`make bench`: what the whole product does, each figure beside baselines taken in the same run, as a ratio.

Real server processes, real sockets, PostgreSQL with default durability, a load generator in C. Loss, order and
repetition are checked in the same run; a part with any has no figures, and the run ends with 1. Read the ratios:
absolutes belong to the machine.
"""

import argparse
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a program: `tests` and `syncserver` are found from the checkout's root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.bench import (
    arriving,
    autosave,
    garbage,
    generator,
    large,
    polling,
    relayed,
    report,
    table,
    triggers,
    workers,
    writing,
)
from tests.bench.figures import WrongError
from tests.bench.launched import Failed
from tests.bench.result import Found, of_figures
from tests.bench.scale import Scale, scale


@dataclass(frozen=True)
class Part:
    """What it measures, in a word or two, and how."""

    title: str
    measure: Callable[[Scale], Found]


def _autosave(_: Scale) -> Found:
    return of_figures("autosave", autosave.measured())


def _large(at: Scale) -> Found:
    return of_figures("large", large.measured(brief=not at.full))


PARTS: Mapping[str, Part] = {
    "wire": Part("Relays from memory, one core", relayed.measured),
    "handshakes": Part("Connections to ready, one core", arriving.shaken),
    "storm": Part("Everybody comes back at once", arriving.stormed),
    "memory": Part("Memory of an idle connection", arriving.remembered),
    "writes": Part("Writes, acknowledged and durable", writing.written),
    "delays": Part("From write to device", writing.delayed),
    "disk": Part("Writes on a slow disk", writing.on_a_slow_disk),
    "polls": Part("Polls without news, one core", polling.polled),
    "fetch": Part("The first fetch", polling.fetched),
    "sql": Part("Writing by SQL into a synced table", triggers.slowed),
    "workers": Part("Several workers on one port", workers.measured),
    "garbage": Part("Garbage at half load", garbage.measured),
    "autosave": Part("Sessions that save themselves", _autosave),
    "large": Part("Large conversations, workspaces and imports", _large),
}


def measured(names: Collection[str], at: Scale) -> report.Run:
    """Every part, one after the other; those that went wrong by their sentence."""
    run = report.Run.here(at)
    for name, part in PARTS.items():
        if name not in names:
            continue
        begun = time.monotonic()
        try:
            found = part.measure(at)
        except (WrongError, Failed) as error:
            run.wrong[name] = str(error)
        else:
            run.found.add(found)
        took_s = time.monotonic() - begun
        print(f"{part.title}: {took_s:.0f} s", file=sys.stderr)
        run.took_s[name] = took_s
    return run


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="everything, with curves (about 25 minutes)")
    parser.add_argument("--only", metavar="PARTS", help=f"these, with commas between: {', '.join(PARTS)}")
    parser.add_argument("--turns", type=int, help="medians of how many (default 3)", default=3)
    parser.add_argument("--seconds", type=float, help="how long a turn takes (default 1; 3 with --full)")
    parser.add_argument("--minutes", type=float, help="how long the run of `garbage` takes", default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md and what belongs to it")
    return parser.parse_args()


def main() -> None:
    """Measure, print a table (or JSON), end with 1 if anything was lost, repeated or out of order."""
    options = _options()
    names = options.only.split(",") if options.only else list(PARTS)
    if unknown := set(names) - set(PARTS):
        sys.exit(f"there is no part {', '.join(unknown)}: there are {', '.join(PARTS)}")
    seconds = options.seconds or (3.0 if options.full else 1.0)
    garbage.minutes = options.minutes
    try:
        generator.built("load")
        run = measured(names, scale(full=options.full, turns=options.turns, seconds=seconds))
    except generator.NoCompilerError as error:
        sys.exit(f"no figures: {error}")
    print(run.as_json() if options.json else table.drawn(run))
    if options.docs:
        report.write(run)
    if run.wrong:
        sys.exit("\n".join(f"no figures of {name}: {sentence}" for name, sentence in run.wrong.items()))


if __name__ == "__main__":
    main()
