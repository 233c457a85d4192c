"""Part `wire`: relays from memory. What reaches subscribers of hot and of private channels, a second of one core.

Every server makes each event and encodes it once; the generator asks for them as fast as they are heard. The more
events may be on the way at once, the more can be joined into one write: hot channels are measured at both ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench import cores, generator, scripts
from tests.bench.relays import running
from tests.bench.relays.running import CEILING, OURS, PLAIN, SOCKETIO, UWS, WS
from tests.bench.result import Baseline, Busy, Found, Promise, Result
from tests.bench.scale import Scale

PART = "wire"
_WARM_TURNS = 1


@dataclass(frozen=True)
class Case:
    """So many sockets over so many channels; events are asked for `batch` at a time, `window` are on their way."""

    name: str
    sockets: int
    channels: int
    batch: int
    window: int
    promises: Sequence[Promise]
    briefly: Sequence[str]

    def channel_of(self, scale: Scale) -> list[int]:
        """Each socket's channel."""
        sockets = scale.sockets(self.sockets)
        channels = max(1, self.channels * sockets // self.sockets)
        return [number % channels for number in range(channels * (sockets // channels))]


_HOT = (Promise("least", 0.9, UWS),)
CASES = (
    Case("1,000 on one channel, 8 events on the way", 1_000, 1, 1, 8, _HOT, (OURS, UWS, PLAIN, CEILING)),
    Case("1,000 on one channel, 64 on the way", 1_000, 1, 1, 64, _HOT, (OURS, UWS)),
    Case("5,000 on one channel, 8 on the way", 5_000, 1, 1, 8, _HOT, ()),
    Case("5,000 on one channel, 32 on the way", 5_000, 1, 1, 32, _HOT, ()),
    Case(
        *("5,000 private channels, 2 devices each", 10_000, 5_000, 64, 2_048),
        [Promise("least", 1.0, WS), Promise("least", 1.8, SOCKETIO)],
        (OURS, WS, SOCKETIO, CEILING),
    ),
)
_ORDER = (OURS, UWS, WS, SOCKETIO, PLAIN, CEILING)


@dataclass(frozen=True)
class _Turn:
    rate: float
    busy: Busy


def _turns(server: running.Running, case: Case, scale: Scale) -> list[_Turn]:
    meter, found = cores.Meter(server.pid), []
    with (
        scripts.file(server.script(case.channel_of(scale))) as script,
        generator.running(
            "fan",
            core=running.GENERATOR_CORE,
            scripts=script,
            port=server.port,
            control=server.control,
            product=int(server.speaks_ours),
            turns=scale.turns + _WARM_TURNS,
            seconds=scale.seconds,
            batch=case.batch,
            window=case.window,
        ) as load,
    ):
        for line in load.lines():
            if "begin" in line:
                meter.begin()
            else:
                found.append(_Turn(line["deliveries"] / line["seconds"], meter.end(line["cpu_s"])))
    return found[_WARM_TURNS:]


def _middle(turns: Sequence[_Turn]) -> _Turn:
    return sorted(turns, key=lambda turn: turn.rate)[len(turns) // 2]


def _case(case: Case, scale: Scale) -> Result:
    starts = running.named()
    wanted = _ORDER if scale.full else case.briefly
    found: dict[str, list[_Turn]] = {}
    for name in _ORDER:
        if name in wanted and name in starts:
            with starts[name]() as server:
                found[name] = _turns(server, case, scale)
    ours = found.pop(OURS)
    rates = [turn.rate for turn in ours]
    baselines = [Baseline(name, _middle(turns).rate, _middle(turns).busy) for name, turns in found.items()]
    missing = [name for name in wanted if name not in {OURS, *found}]
    note = f"not here: {', '.join(missing)}" if missing else ""
    return Result(PART, case.name, "deliveries/s", rates, baselines, case.promises, _middle(ours).busy, note)


def measured(scale: Scale) -> Found:
    """Every case, ours and the others one after the other."""
    return Found([_case(case, scale) for case in CASES if scale.full or case.briefly])
