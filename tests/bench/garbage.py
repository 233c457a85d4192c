"""Part `garbage`: half the load for a while (`--minutes 30` for long): memory, the loop's longest pause, delays."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench import generator, product, scripts, writing
from tests.bench.memory import Memory
from tests.bench.product import Product
from tests.bench.result import Baseline, Busy, Found, Line, Promise, Result
from tests.bench.scale import Scale

PART = "garbage"
RATE = writing.WHOLE // 2
KEYS = 64
"""Each reader's writes go round so many books: the database does not grow, so the server must not, either."""

_BRIEF_S, _FULL_S = 20.0, 60.0
_FLAT = 1.1
_PAUSED = Path(__file__).with_name("paused.py")

minutes = 0.0
"""How long; 0: as the scale says."""


def measured(scale: Scale) -> Found:
    """What becomes of a server under half of its load."""
    seconds = 60 * minutes or (_FULL_S if scale.full else _BRIEF_S)
    with tempfile.TemporaryDirectory(prefix="syncserver-bench-") as folder:
        noted = Path(folder) / "pauses"
        with product.running((str(_PAUSED), str(noted), "serve")) as server:
            memory = Memory(server.pid) if Path("/proc/self/status").exists() else None
            held, line, busy, begun_s = _halves(server, seconds / 2, memory)
            pauses = [second for second in _lines(noted) if second["at_s"] > begun_s]
    return _found(seconds / 2, held, line, busy, pauses)


def _halves(server: Product, seconds: float, memory: Memory | None) -> tuple[list[float], dict[str, Any], Busy, float]:
    """MiB at the beginning and the end of the second half, what the generator says of it, what was busy, its beginning.

    The first half warms up: the same devices, the same rows.
    """
    meter, held, begun_s = server.meter, [], 0.0
    script = scripts.devices(server, writing.fresh(writing.OWNERS), ("phone", "tablet"))
    options: dict[str, Any] = {"rate": RATE, "per_push": writing.WHOLE_PUSH, "keys": KEYS, "seconds": seconds}
    with (
        scripts.file(script) as file,
        generator.running("writes", scripts=file, port=server.port, product=1, turns=2, **options) as load,
    ):
        for line in load.lines():
            held.append(memory.now() if memory else 0.0)
            if "begin" in line:
                begun_s = time.monotonic()
                meter.begin()
    return held[-2:], line, meter.end(line["cpu_s"]), begun_s


def _lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _found(
    seconds: float, held: list[float], line: dict[str, Any], busy: Busy, pauses: list[dict[str, float]]
) -> Found:
    delay, at = line["device"], f"{RATE:,} writes/s for {seconds:,.0f} s"
    begun, ended = held
    flat = [Promise("most", _FLAT, "at its beginning")] if begun else []
    results = [
        Result(PART, f"{at}: resident memory at the end", "MiB", [ended], [Baseline("at its beginning", begun)], flat),
        Result(PART, "write to other device, p99.9", "ms", [delay["p999_ms"]], [Baseline("p50", delay["p50_ms"])]),
    ]
    for name, member in (("the loop's longest pause", "loop_ms"), ("the collector's longest stay", "collector_ms")):
        most = [max((second[member] for second in pauses), default=0.0)]
        results.append(Result(PART, name, "ms", most, busy=busy))
    lines = [Line("pauses", "the loop's longest pause in a second", _plotted(pauses))]
    return Found(results, lines if pauses else [])


def _plotted(pauses: list[dict[str, float]]) -> list[tuple[float, float]]:
    return [(second["at_s"] - pauses[0]["at_s"], second["loop_ms"]) for second in pauses]
