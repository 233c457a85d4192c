"""The wire oracle: devices on every transport, a network that fails, a server and a database that are killed.

`python tests/faults/wire.py --runs 200 --clients 50 --seed 1`. Each run ends with an exact account; ends with 1 when
one of them is not exact, naming its seed and telling what the devices that differ last heard.
"""

import argparse
import asyncio
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psycopg

if not __package__:  # run as a program: `tests` is found from the checkout's root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.faults import history, launched, rawhttp
from tests.faults.launched import Postgres, Server
from tests.faults.storm import Plan, Report, Storm
from tests.harness import token

SETTINGS = {"heartbeat_s": 1.0, "sweep_s": 0.5}
_ERROR = re.compile(r"^(?:\S+ \S+ (?=ERROR|CRITICAL)|(?=[\w.]+(?:Error|Exception|Disconnect)\b))(.*)$", re.MULTILINE)


@asynccontextmanager
async def stage(mutant: str | None = None) -> AsyncIterator[tuple[Postgres, Server]]:
    """A database that remembers, and a server over it, for any number of runs."""
    with launched.postgres() as postgres:
        with psycopg.connect(postgres.urls.owner, autocommit=True) as sql:
            history.install(sql)
        async with launched.zygote(postgres.urls.server, **SETTINGS) as server:
            await server.start(mutant=mutant)
            yield postgres, server


async def transports(server: Server) -> Sequence[str]:
    """The transports that this server has."""
    headers = {"Authorization": f"Bearer {token('nobody')}"}
    found = ["socket", "poll"]
    async with rawhttp.opened(server.port, "GET", "/api/v1/changes/stream", headers) as answer:
        found += ["stream"] if answer.status == 200 else []
    if (await rawhttp.ask(server.port, "GET", "/api/v1/changes?wait=1", headers)).status == 204:
        found += ["long-poll"]
    return found


async def one(plan: Plan) -> Report:
    """One run on a stage of its own."""
    async with stage(plan.mutant) as (postgres, server):
        return await Storm(replace(plan, transports=await transports(server)), postgres, server).run()


async def _runs(options: argparse.Namespace) -> bool:
    begun, reports, errors = time.monotonic(), list[Report](), Counter[str]()
    seeds = [options.only_seed] if options.only_seed is not None else range(options.seed, options.seed + options.runs)
    async with stage(options.mutant) as (postgres, server):
        found = await transports(server)
        print(f"wire: {len(seeds)} runs of {options.clients} clients by {', '.join(found)}", flush=True)
        for seed in seeds:
            plan = Plan(
                seed, options.clients, options.storm, within_s=options.within, transports=found, mutant=options.mutant
            )
            report = await Storm(plan, postgres, server).run()
            reports.append(report)
            log = server.logged()
            errors.update(_ERROR.findall(log))
            _show(report, log)
    _sum_up(reports, time.monotonic() - begun)
    for error, count in errors.most_common(8):
        print(f"   the server logged {count} times: {error[:200]}")
    return not any(report.wrong for report in reports)


def _show(report: Report, logged: str) -> None:
    print(report.line(), flush=True)
    if not report.wrong:
        return
    for wrong in report.wrong[:20]:
        print(f"   {wrong}")
    for story in report.stories[:3]:
        print(f"   {story}")
    print("   the server's log ends with:\n   " + "\n   ".join(logged.splitlines()[-30:]), flush=True)


def _sum_up(reports: Sequence[Report], seconds: float) -> None:
    failed = [report.seed for report in reports if report.wrong]
    total = {name: sum(getattr(report, name) for report in reports) for name in ("writes", "deliveries", "retries")}
    killed = [kind for report in reports for kind in report.calamities]
    slowest = max((report.converged_s for report in reports), default=0)
    print(
        f"wire: {len(reports)} runs in {seconds:.0f} s, {total['writes']} writes ({total['retries']} sent again), "
        f"{total['deliveries']} deliveries, {sum(sum(r.struck.values()) for r in reports)} ills, server killed "
        f"{killed.count('server')} times, PostgreSQL {killed.count('database')}; slowest convergence "
        f"{slowest * 1000:.0f} ms; failures: {len(failed)}{f' (seeds {failed})' if failed else ''}"
    )


def main() -> None:
    """Run; ends with 0 or 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the next one's is one more")
    parser.add_argument("--only-seed", type=int, help="one run, with this seed")
    parser.add_argument("--storm", type=float, default=3.0, metavar="SECONDS", help="how long each storm is")
    parser.add_argument("--within", type=float, default=2.0, metavar="SECONDS", help="from quiet to convergence")
    parser.add_argument("--mutant", help="run a server with this mistake (see mutants.py)")
    sys.exit(0 if asyncio.run(_runs(parser.parse_args())) else 1)


if __name__ == "__main__":
    main()
