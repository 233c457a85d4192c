"""A population of readers against a live server, time compressed; fails unless the account is exact.

`make simulate` runs it: 200 readers for 60 s. What they do is in `population`, the account in `account` and `fold`.
`make soak` runs it for half an hour with `--faults`, and fails as well when the server grew: see `soak`.
"""

import argparse
import asyncio
import logging
import random
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
from syncserver_client import SyncError

if not __package__:  # run as a program: `tests` is found from the checkout's root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.bench.launched import Failed, Place, launched
from tests.bench.shown import Progress, cpu_line, table, wrong_lines
from tests.bench.simulation import Outcome, Plan, Simulation, Trouble
from tests.bench.soak import Verdict, soaked

# A page takes 90 s in the mean: at 100 times the speed 200 readers write some 170 times a second, a real load, while
# one Python process, which is all their devices at once, still has time to spare.
SPEED = 100.0
SOAK_SPEED = 20.0  # longer, not harder: the account holds everything that anybody heard
FILES = 65_536


def main() -> None:
    """Run; ends with 0 or 1, or 2 where there was no run."""
    options = _options()
    logging.getLogger("syncserver_client").setLevel(logging.CRITICAL)  # networks are cut on purpose here
    _allow_files()
    try:
        good = asyncio.run(_run(options))
    except (Failed, SyncError, httpx.HTTPError, OSError) as failure:
        print(f"readers: {type(failure).__name__}: {failure}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if good else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Simulate readers against a live server and check every change.")
    parser.add_argument("--readers", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long they read (default 60)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the population (default: random)")
    parser.add_argument(
        "--speed", type=float, help=f"time compression (default {SPEED:g}, with --faults {SOAK_SPEED:g})"
    )
    parser.add_argument("--faults", action="store_true", help="make trouble all the time, and see whether it grows")
    parser.add_argument("--restarts", action="store_true", help="with faults: restart the server in the middle, too")
    parser.add_argument("--url", help="a server that runs already; without it one is started")
    parser.add_argument("--secret-file", type=Path, help="what signs that server's tokens: its data folder's `secret`")
    options = parser.parse_args()
    options.speed = options.speed or (SOAK_SPEED if options.faults else SPEED)
    if options.url and not options.url.startswith("http://"):
        parser.error("--url begins with http://: devices are cut off by a plain relay")
    if bool(options.url) != bool(options.secret_file):
        parser.error("--url and --secret-file go together")
    if options.url and options.faults:
        parser.error("--faults kills the database, so it takes a server of its own")
    if options.restarts and not options.faults:
        parser.error("--restarts goes with --faults")
    return options


def _allow_files() -> None:
    """Each device is a few sockets, here and at the server that is started from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


async def _run(options: argparse.Namespace) -> bool:
    plan = Plan(options.readers, options.seconds, options.seed, options.speed)
    print(f"{plan.readers} readers, {plan.seconds:g} s at {plan.speed:g} times the speed, --seed {plan.seed}")
    before = _children_s()
    begun = time.monotonic()
    place, outcome, verdict = await (_soaked if options.faults else _plainly)(options, plan)
    lasted = time.monotonic() - begun
    print("\n".join(table(outcome)))
    served = None if options.url else (_children_s() - before) / lasted
    print(cpu_line(outcome, served, place.stopped_s))
    print("\n".join(wrong_lines(outcome)))
    if verdict is not None:
        print("\n".join(verdict.lines()))
    return outcome.good and (verdict is None or verdict.good)


async def _plainly(options: argparse.Namespace, plan: Plan) -> tuple[Place, Outcome, None]:
    async with _place(options) as place:
        outcome = await _simulated(plan, place)
    return place, outcome, None


async def _soaked(options: argparse.Namespace, plan: Plan) -> tuple[Place, Outcome, Verdict]:
    async with soaked(plan.seed, plan.seconds, restarts=options.restarts) as soak:
        outcome = await _simulated(plan, soak.place, soak)
        verdict = await soak.verdict()
    return soak.place, outcome, verdict


@asynccontextmanager
async def _place(options: argparse.Namespace) -> AsyncIterator[Place]:
    if options.url:
        yield Place(options.url.rstrip("/"), options.secret_file.read_bytes().strip())
        return
    async with launched() as place:
        yield place


async def _simulated(plan: Plan, place: Place, trouble: Trouble | None = None) -> Outcome:
    """A run with its progress line. The first Ctrl-C ends the reading early, and the account is taken."""
    simulation = Simulation(plan, place, trouble)
    progress = Progress(simulation, sys.stdout)
    shown = asyncio.create_task(progress.run())
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        simulation.over.set()
        loop.remove_signal_handler(signal.SIGINT)  # a second one ends it all

    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        return await simulation.run(progress.phase)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        shown.cancel()
        with suppress(asyncio.CancelledError):
            await shown
        progress.end()


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
