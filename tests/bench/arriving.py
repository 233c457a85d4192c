"""Parts `handshakes`, `storm` and `memory`: devices that connect, all of them at once, and that then do nothing."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg

from syncserver.core.actor import user_owner
from syncserver.core.cursor import Cursor
from tests.bench import cores, generator, product, scripts
from tests.bench.figures import WrongError
from tests.bench.product import Product
from tests.bench.relays import running
from tests.bench.relays.running import OURS, PLAIN, UWS, WS
from tests.bench.result import Baseline, Busy, Found, Line, Promise, Result
from tests.bench.scale import Scale

CONNECTIONS, BRIEFLY, STORM = 5_000, 2_000, 10_000
IN_FLIGHT = 64
IDLE = (1_000, 2_500, 5_000, 10_000)
ROWS, CHANGED = 10, 5
"""A reader's rows when the device was last here, and how many changed in the 14 days since."""

_SETTLED_S = 2.0
_PAGE_KIB = 4
_EPOCH = "SELECT id FROM epoch"
_FILL = """
    INSERT INTO reading_progress (owner, publication_id, percentage, position, position_kind, updated_at)
    SELECT 'user:storm-' || o, 'book-' || b, 0.25, '/body/DocFragment[12]/body/p[48]/text().112', 'xpointer',
      now() - interval '14 days'
    FROM generate_series(0, %(owners)s - 1) AS o, generate_series(1, %(rows)s) AS b
"""
_CHANGE = """
    UPDATE reading_progress SET percentage = 0.5, updated_at = now()
    WHERE owner LIKE 'user:storm-%%' AND publication_id = ANY (SELECT 'book-' || generate_series(1, %(changed)s))
"""
_HEADS = "SELECT owner, head FROM channels WHERE owner LIKE 'user:storm-%'"


# -- handshakes -----------------------------------------------------------------------------------------------------


def _arrivals(server: running.Running, script: Path, turns: int) -> list[tuple[float, Busy]]:
    """Sockets a second that became ready, each turn from new connections with the same script."""
    found, meter = [], cores.Meter(server.pid)
    for _ in range(turns):
        cores.until_quiet(server.pid)
        meter.begin()
        line = generator.once(
            "arrive",
            core=running.GENERATOR_CORE,
            scripts=script,
            port=server.port,
            in_flight=IN_FLIGHT,
            product=int(server.speaks_ours),
        )
        found.append((line["sockets"] / line["seconds"], meter.end(line["cpu_s"])))
    return found


def _count(scale: Scale) -> int:
    return scale.sockets(CONNECTIONS if scale.full else BRIEFLY)


def _others(scale: Scale, names: tuple[str, ...]) -> list[Baseline]:
    starts, found = running.named(), []
    for name in names:
        if name in starts:
            with starts[name]() as server, scripts.file(server.script(range(_count(scale)))) as script:
                ran = sorted(_arrivals(server, script, scale.turns), key=lambda turn: turn[0])
                found.append(Baseline(name, *ran[len(ran) // 2]))
    return found


def shaken(scale: Scale) -> Found:
    """Handshakes a second to ready, of one core: with tokens that were never seen, and with tokens that were."""
    count, unknown = _count(scale), []
    with running.ours() as server:
        for turn in range(scale.turns):
            with scripts.file(server.script(range(turn * count, (turn + 1) * count))) as script:
                unknown += _arrivals(server, script, 1)
        with scripts.file(server.script(range(count))) as script:
            known = _arrivals(server, script, scale.turns)
    others = _others(scale, (WS, PLAIN, UWS) if scale.full else (WS, PLAIN))
    found = Found()
    for name, ran in (("tokens never seen before", unknown), ("tokens seen before", known)):
        rates, busy, promises = [rate for rate, _ in ran], ran[len(ran) // 2][1], [Promise("least", 4_000)]
        found.results.append(
            Result("handshakes", f"connect to ready, {name}", "sockets/s", rates, others, promises, busy)
        )
    return found


# -- the storm ------------------------------------------------------------------------------------------------------


def aged(owner_url: str, owners: int) -> dict[int, str]:
    """Rows for so many readers, each one's cursor then, and changes since."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute(_FILL, {"owners": owners, "rows": ROWS})
        epoch = str(connection.execute(_EPOCH).fetchall()[0][0])
        heads: dict[str, int] = dict(connection.execute(_HEADS).fetchall())
        connection.execute(_CHANGE, {"changed": CHANGED})
        connection.execute("VACUUM ANALYZE")
    names = {number: user_owner(f"storm-{number}") for number in range(owners)}
    return {number: str(Cursor.at(epoch, owner, heads[owner])) for number, owner in names.items()}


def _storm(server: Product, cursors: dict[int, str], turn: int) -> tuple[dict[str, Any], Busy]:
    meter = server.meter
    lines = (
        scripts.device(server.token(f"storm-{number}"), number, f"phone-{turn}", cursor)
        for number, cursor in cursors.items()
    )
    with scripts.file(lines) as script:
        cores.until_quiet(server.pid)
        meter.begin()
        line = generator.once("arrive", scripts=script, port=server.port, storm=1, product=1)
    if line["rows"] != CHANGED * len(cursors):
        raise WrongError(f"the storm heard {line['rows']} rows, and {CHANGED * len(cursors)} had changed")
    return line, meter.end(line["cpu_s"])


def _storm_of_others(scale: Scale) -> list[Baseline]:
    """Another server's, where nobody has anything to catch up with."""
    start = running.named().get(WS)
    if start is None:
        return []
    with start() as server, scripts.file(server.script(range(scale.sockets(STORM)))) as script:
        line = generator.once("arrive", scripts=script, port=server.port, storm=1)
    return [Baseline("node ws, nothing to catch up", line["ready"]["most_ms"] / 1000)]


def stormed(scale: Scale) -> Found:
    """Everybody comes back at once, from where they were 14 days ago."""
    with product.running() as server:
        cursors = aged(server.owner_url, scale.sockets(STORM))
        ran = [_storm(server, cursors, turn) for turn in range(scale.turns if scale.full else 1)]
    busy = ran[len(ran) // 2][1]
    rows = f"{len(cursors):,} at once, {CHANGED} rows changed for each"
    last = [line["ready"]["most_ms"] / 1000 for line, _ in ran]
    half = [line["ready"]["p50_ms"] / 1000 for line, _ in ran]
    most = [line["ready"]["p99_ms"] / 1000 for line, _ in ran]
    return Found(
        [
            Result(
                "storm", f"{rows}: the last is ready", "s", last, _storm_of_others(scale), [Promise("most", 8.0)], busy
            ),
            Result("storm", "half of them are ready", "s", half, busy=busy),
            Result("storm", "99 in 100 are ready", "s", most, busy=busy),
        ]
    )


# -- memory ---------------------------------------------------------------------------------------------------------


def _kib(pid: int, what: str = "Pss") -> float:
    """What the processes of a server hold: of PSS, what is shared counts in parts."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return float(line.split()[1])
    raise WrongError("no memory")


def _kernel_kib() -> float:
    """What the kernel of the whole machine holds for its objects, sockets among them, and in sockets' buffers."""
    lines = Path("/proc/net/sockstat").read_text().splitlines() + Path("/proc/meminfo").read_text().splitlines()
    words = {line.split()[0]: line.split() for line in lines if line}
    return float(words["Slab:"][1]) + _PAGE_KIB * float(words["TCP:"][-1])


def _idle(server: running.Running, steps: list[int]) -> list[tuple[int, float, float]]:
    """At so many idle connections: KiB a connection above the empty server, and in the kernel."""
    found = []
    with ExitStack() as stack:
        warm = stack.enter_context(scripts.file(server.script(range(steps[-1], steps[-1] + 50))))
        options: dict[str, Any] = {"port": server.port, "in_flight": IN_FLIGHT, "product": int(server.speaks_ours)}
        generator.once("arrive", scripts=warm, **options)
        _settled(server.pid)
        empty, kernel = _kib(server.pid), _kernel_kib()
        for before, now in zip([0, *steps], steps, strict=False):
            script = stack.enter_context(scripts.file(server.script(range(before, now))))
            load = stack.enter_context(generator.running("arrive", scripts=script, hold=1, **options))
            load.line()
            _settled(server.pid)
            found.append((now, (_kib(server.pid) - empty) / now, (_kernel_kib() - kernel) / now))
    return found


def _settled(pid: int) -> None:
    cores.until_quiet(pid)
    time.sleep(_SETTLED_S)  # what is done a moment later, such as a collection, is done


def remembered(scale: Scale) -> Found:
    """Memory of an idle connection."""
    if not Path("/proc/self/smaps_rollup").exists():
        return Found()
    wanted = IDLE if scale.full else IDLE[-1:]
    steps = sorted({scale.sockets(count) for count in wanted})
    starts, found, lines = running.named(), {}, []
    for name in (OURS, PLAIN, WS, UWS) if scale.full else (OURS, WS):
        if name in starts:
            with starts[name]() as server:
                found[name] = _idle(server, steps)
            lines.append(Line("memory", name, [(count, kib) for count, kib, _ in found[name]]))
    ours = found.pop(OURS)
    lines.append(Line("memory", "in the kernel, both ends", [(count, kib) for count, _, kib in ours]))
    count, kib, kernel = ours[-1]
    others = [Baseline(name, at[-1][1]) for name, at in found.items()]
    note = f"and {kernel:.1f} KiB in the kernel, both ends together"
    promises = [Promise("most", 14.0)]
    name = f"an idle connection, of {count:,}"
    return Found([Result("memory", name, "KiB", [kib], others, promises, note=note)], lines)
