"""Parts `writes`, `delays` and `disk`: mutations through the whole product, from a device's push to every device.

The generator sees that each is acknowledged once and applied, and that each device hears of each once and in order.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg

from tests.bench import generator, product, scripts, slow_disk
from tests.bench.product import Product
from tests.bench.result import Baseline, Busy, Found, Line, Promise, Result
from tests.bench.scale import Scale

WRITERS = 100
OWNERS = 250
WINDOWS = {1: 8, 20: 2, 50: 1}
SINGLE, WHOLE = 2_000, 10_000
SINGLE_PUSH, WHOLE_PUSH = 1, 20
_SINGLE_LOADS = (500, 1_000, 2_000, 3_000, 4_000, 6_000)
_WHOLE_LOADS = (2_000, 4_000, 6_000, 8_000, 10_000, 12_000)
_LIMITS_MS = {("ack", "p50_ms"): 3.0, ("ack", "p99_ms"): 15.0, ("device", "p50_ms"): 5.0, ("device", "p99_ms"): 20.0}
_BOTH = ("phone", "tablet")
_WARM_S = 1.0
_HOPELESS_MS = 1_000.0
_DISK_US = 2_000


@dataclass(frozen=True)
class Turn:
    """What the generator said of one turn, and what was busy."""

    said: dict[str, Any]
    busy: Busy

    @property
    def rate(self) -> float:
        """Writes that were answered, a second, until every one was."""
        return float(self.said["acks"]) / float(self.said["seconds"])

    def ms(self, what: str, share: str) -> float:
        """A delay: of `ack` or of `device`; p50_ms, p99_ms, p999_ms."""
        return float(self.said[what][share])


def turns(server: Product, script: Sequence[str], count: int, **options: Any) -> list[Turn]:
    """So many turns of the generator's `writes`."""
    meter, found = server.meter, []
    with (
        scripts.file(script) as file,
        generator.running("writes", scripts=file, port=server.port, product=1, turns=count, **options) as load,
    ):
        for line in load.lines():
            if "begin" in line:
                meter.begin()
            else:
                found.append(Turn(line, meter.end(line["cpu_s"])))
    return found


def fresh(count: int) -> list[str]:
    """So many readers that were never here."""
    run = uuid4().hex[:8]
    return [f"{run}-{number}" for number in range(count)]


def one_row_each(owner_url: str, seconds: float) -> float:
    """The baseline: rows a second, one a transaction, over one connection, with the same triggers."""
    done, owner = 0, f"user:{uuid4()}"
    with psycopg.connect(owner_url, autocommit=True) as connection:
        begun = time.monotonic()
        while time.monotonic() < begun + seconds:
            connection.execute(
                "INSERT INTO reading_progress (owner, publication_id, percentage, position, position_kind)"
                " VALUES (%s, %s, 0.5, '/body/DocFragment[12]/body/p[48]/text().112', 'xpointer')",
                [owner, str(done)],
            )
            done += 1
        return done / (time.monotonic() - begun)


def throughput(server: Product, per_push: int, scale: Scale) -> list[Turn]:
    """As fast as they are acknowledged, from WRITERS sockets of as many readers."""
    script = [
        scripts.device(server.token(owner), channel, "phone", subscribes=False)
        for channel, owner in enumerate(fresh(WRITERS))
    ]
    window = WINDOWS[per_push]
    return turns(server, script, scale.turns + 1, per_push=per_push, window=window, seconds=scale.seconds)[1:]


def written(scale: Scale) -> Found:
    """Acknowledged, durable, notified mutations a second."""
    found = Found()
    with product.running() as server:
        for per_push in WINDOWS:
            ran = throughput(server, per_push, scale)
            alone = [one_row_each(server.owner_url, scale.seconds) for _ in ran]
            promises = [Promise("least", 10_000)] if per_push == max(WINDOWS) else []
            found.results.append(
                Result(
                    "writes",
                    f"pushes of {per_push}, {WRITERS} sockets",
                    "writes/s",
                    [turn.rate for turn in ran],
                    [Baseline("one row a transaction, no server", sorted(alone)[len(alone) // 2])],
                    promises,
                    ran[len(ran) // 2].busy,
                )
            )
    return found


def _loaded(server: Product, rate: float, per_push: int, scale: Scale, count: int = 1) -> list[Turn]:
    """So many writes a second, evenly, each to both devices of its reader."""
    server.age()
    script = list(scripts.devices(server, fresh(OWNERS), _BOTH))
    seconds = scale.seconds + _WARM_S
    return turns(server, script, count, rate=rate, per_push=per_push, seconds=seconds, warm=_WARM_S)


def _delay_results(
    name: str, ran: Sequence[Turn], limits: dict[tuple[str, str], float], alone_ms: float
) -> list[Result]:
    words = {"ack": "to its answer", "device": "to the other device"}
    return [
        Result(
            "delays",
            f"{name}, {words[what]}, {share.removesuffix('_ms')}",
            "ms",
            [turn.ms(what, share) for turn in ran],
            [Baseline("one row in a transaction, no server", alone_ms)],
            [Promise("most", limits[what, share])] if (what, share) in limits else [],
            busy=ran[len(ran) // 2].busy,
            note=f"{ran[len(ran) // 2].rate:,.0f} writes/s were answered",
        )
        for what, share in (("ack", "p50_ms"), ("ack", "p99_ms"), ("device", "p50_ms"), ("device", "p99_ms"))
    ]


def _curve(server: Product, loads: Sequence[int], per_push: int, scale: Scale) -> list[Line]:
    """Delay against load, to where it has no end."""
    points: dict[str, list[tuple[float, float]]] = {"p50_ms": [], "p99_ms": []}
    for load in loads:
        (turn,) = _loaded(server, load, per_push, scale)
        for share, line in points.items():
            line.append((load, turn.ms("device", share)))
        if turn.ms("device", "p99_ms") > _HOPELESS_MS:
            break
    pushes = "single writes" if per_push == 1 else f"pushes of {per_push}"
    return [Line("delay", f"{pushes}, {share.removesuffix('_ms')}", line) for share, line in points.items()]


def delayed(scale: Scale) -> Found:
    """How long a write takes to its answer and to the other device, at several loads."""
    found = Found()
    with product.running() as server:
        _loaded(server, SINGLE / 2, SINGLE_PUSH, scale)  # warms up
        alone_ms = 1000 / one_row_each(server.owner_url, scale.seconds)
        single = _loaded(server, SINGLE, SINGLE_PUSH, scale, scale.turns)
        found.results += _delay_results(f"{SINGLE:,} writes/s", single, _LIMITS_MS, alone_ms)
        whole = _loaded(server, WHOLE, WHOLE_PUSH, scale, scale.turns)
        name = f"{WHOLE:,} writes/s and {2 * WHOLE:,} deliveries/s"
        found.results.append(_reached(whole))
        found.results += _delay_results(name, whole, {("device", "p99_ms"): 25.0}, alone_ms)
        if scale.full:
            found.lines += _curve(server, _SINGLE_LOADS, SINGLE_PUSH, scale)
            found.lines += _curve(server, _WHOLE_LOADS, WHOLE_PUSH, scale)
    return found


def _reached(ran: Sequence[Turn]) -> Result:
    rates = [float(turn.said["deliveries"]) / float(turn.said["seconds"]) for turn in ran]
    promise = Promise("least", 0.98 * 2 * WHOLE)
    name = f"at {WHOLE:,} writes/s, in pushes of {WHOLE_PUSH}, to 2 devices each"
    return Result("delays", name, "deliveries/s", rates, promises=[promise], busy=ran[len(ran) // 2].busy)


def on_a_slow_disk(scale: Scale) -> Found:
    """Acknowledged writes a second where each sync takes 2 ms longer."""
    with ExitStack() as stack:
        binaries = stack.enter_context(slow_disk.binaries(_DISK_US))
        if binaries is None:
            return Found()
        server = stack.enter_context(product.running(flags=("--postgres-bin", str(binaries))))
        ran = throughput(server, max(WINDOWS), scale)
        alone = one_row_each(server.owner_url, scale.seconds)
    return Found(
        [
            Result(
                "disk",
                f"pushes of {max(WINDOWS)}, each sync 2 ms slower",
                "writes/s",
                [turn.rate for turn in ran],
                [Baseline("one row a transaction, no server", alone)],
                [Promise("least", 5_000)],
                ran[len(ran) // 2].busy,
            )
        ]
    )
