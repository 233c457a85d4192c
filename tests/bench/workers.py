"""Part `workers`: the same load with one process and with two, which share the port."""

import subprocess
import sys
from functools import cache

from tests.bench import generator, product, scripts, writing
from tests.bench.product import Product
from tests.bench.result import Baseline, Found, Result
from tests.bench.scale import Scale

COUNTS = (1, 2)
CONNECTIONS, IN_FLIGHT = 2_000, 128
_PUSH = 20


@cache
def can_be_several() -> bool:
    """Whether this server knows `--workers`."""
    command = [sys.executable, "-m", "syncserver", "serve", "--help"]
    return "--workers" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _arrivals(server: Product, scale: Scale) -> list[float]:
    found = []
    for _ in range(scale.turns):
        with scripts.file(scripts.devices(server, writing.fresh(scale.sockets(CONNECTIONS)))) as script:
            line = generator.once("arrive", scripts=script, port=server.port, in_flight=IN_FLIGHT, product=1)
        found.append(line["sockets"] / line["seconds"])
    return found


def _with(count: int, scale: Scale) -> tuple[list[float], list[writing.Turn]]:
    with product.running(flags=("--workers", str(count))) as server:
        return _arrivals(server, scale), writing.throughput(server, _PUSH, scale)


def measured(scale: Scale) -> Found:
    """Handshakes and writes a second, on all cores, with one worker and with two."""
    if not can_be_several():
        return Found()
    ran = {count: _with(count, scale) for count in COUNTS}
    one, two = (sorted(ran[count][0]) for count in COUNTS)
    alone, both = (sorted(turn.rate for turn in ran[count][1]) for count in COUNTS)
    busy = ran[2][1][0].busy
    return Found(
        [
            Result("workers", "connect to ready, 2 workers", "sockets/s", two, [_one(one)]),
            Result("workers", f"pushes of {_PUSH}, 2 workers", "writes/s", both, [_one(alone)], busy=busy),
        ]
    )


def _one(rates: list[float]) -> Baseline:
    return Baseline("1 worker", rates[len(rates) // 2])
