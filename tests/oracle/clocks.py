"""Clock abuse: devices a year behind, ten minutes behind, a day and ten years ahead, against a real server.

Whoever knew the row wins, whatever the clocks say; of two who did not know each other, the later by corrected time.
Run it: `python tests/oracle/clocks.py --seed 1 --rounds 300`. A chain in which plain stamps decide is the control.
"""

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from syncserver_client.clock import Clock
from websockets.asyncio.client import ClientConnection, connect

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.harness import Program

SKEWS = {
    "a year behind": timedelta(days=-365),
    "ten minutes behind": timedelta(minutes=-10),
    "right": timedelta(),
    "a day ahead": timedelta(days=1),
    "ten years ahead": timedelta(days=3652),
}
APART_S = 0.2
"""How far apart two concurrent moments are: more than the error of any correction."""

HOPS = 8


@dataclass
class Device:
    """One installation with a clock of its own. `plain`: it never heard of correcting its stamps."""

    name: str
    skew: timedelta
    plain: bool
    clock: Clock = field(init=False)
    socket: ClientConnection = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(lambda: datetime.now(UTC) + self.skew)

    async def arrive(self, url: str, token: str) -> None:
        """Say hello, and learn from the welcome how far the clock is off."""
        self.socket = await connect(url)
        sent_at = self.clock.raw()
        await self._say("hello", token=token, sent_at=sent_at, protocol=[1, 1], **self._who())
        welcome = orjson.loads(await self.socket.recv())
        self.clock.synchronise(sent_at, self.clock.raw(), datetime.fromisoformat(welcome["server_time"]))
        if (abs(self.skew) > timedelta(minutes=5)) is not ("drift_s" in welcome):
            raise AssertionError(f"a device {self.name} was told {welcome.get('drift_s')}")

    def _who(self) -> dict[str, Any]:
        name = f"{self.name}{', plain' if self.plain else ''}"
        return {"device": {"id": name}, "client_id": name}

    def stamp(self, moment: datetime) -> datetime:
        """What the device says of a true moment."""
        shown = moment + self.skew
        return shown if self.plain else shown + self.clock.offset

    @property
    def error_s(self) -> float:
        """How far off a corrected stamp is."""
        return abs((self.skew + self.clock.offset).total_seconds())

    async def write(self, key: str, tag: str, moment: datetime, base: int | None) -> dict[str, Any]:
        """Push one put and wait for its ack."""
        mutation = {
            "mutation_id": str(uuid4()),
            "resource": "progress",
            "key": key,
            "op": "put",
            "data": {"position": tag},
            "base": base,
            "updated_at": self.stamp(moment),
        }
        await self._say("push", mutations=[mutation])
        while (frame := orjson.loads(await self.socket.recv()))["type"] != "ack":
            pass
        ack: dict[str, Any] = frame["acks"][0]
        return ack

    async def _say(self, kind: str, **members: Any) -> None:
        await self.socket.send(orjson.dumps({"type": kind, **members}).decode())


@dataclass
class Report:
    """What happened. All but the last two should be 0 or a plain count."""

    seed: int
    causal: int = 0
    causal_lost: int = 0
    concurrent: int = 0
    concurrent_wrong: int = 0
    largest_error_s: float = 0.0
    plain_would_lose: int = 0

    @property
    def failed(self) -> bool:
        """Whether a write that knew the row was lost, or the wrong one of two won."""
        return self.causal_lost > 0 or self.concurrent_wrong > 0

    def __str__(self) -> str:
        share = 100 * self.plain_would_lose / max(1, self.causal)
        return (
            f"seed {self.seed}: {self.causal} causally later writes, {self.causal_lost} lost;"
            f" {self.concurrent} concurrent decisions, {self.concurrent_wrong} not by corrected time"
            f" (corrections are off by at most {self.largest_error_s * 1000:.1f} ms);"
            f" control: comparing the devices' own stamps would have lost {self.plain_would_lose} ({share:.0f} %)"
        )


async def run(url: str, token: str, seed: int, rounds: int) -> Report:
    """`rounds` rows with a chain of writes that each knew the last, and `rounds` rows with concurrent ones."""
    chance = random.Random(seed)
    devices = [Device(name, skew, plain) for name, skew in SKEWS.items() for plain in (False, True)]
    report = Report(seed)
    try:
        for device in devices:
            await device.arrive(url, token)
        correcting = [device for device in devices if not device.plain]
        report.largest_error_s = max(device.error_s for device in correcting)
        for number in range(rounds):
            await _chain(report, chance, devices, f"{seed} chain {number}")
            await _meeting(report, chance, correcting, f"{seed} meeting {number}")
    finally:
        await asyncio.gather(*(device.socket.close() for device in devices if hasattr(device, "socket")))
    return report


async def _chain(report: Report, chance: random.Random, devices: Sequence[Device], key: str) -> None:
    """Each write knew the one before, so each has to win."""
    base, newest = None, None
    for hop in range(HOPS):
        device = chance.choice(devices)
        moment = datetime.now(UTC)
        ack = await device.write(key, str(hop), moment, base)
        report.causal += 1
        report.causal_lost += ack["status"] not in {"applied", "merged"}
        claimed = moment + device.skew
        report.plain_would_lose += newest is not None and claimed <= newest
        newest = claimed if newest is None else max(newest, claimed)
        base = ack.get("offset", base)


async def _meeting(report: Report, chance: random.Random, devices: Sequence[Device], key: str) -> None:
    """Devices that knew the same state write at moments of their own, and arrive in any order: the latest wins."""
    began = datetime.now(UTC) - timedelta(hours=1)
    first = await devices[0].write(key, "first", began, None)
    meeting = chance.sample(devices, chance.randint(2, len(devices)))
    order = chance.sample(range(len(meeting)), len(meeting))
    moments = [began + timedelta(seconds=APART_S * (1 + place)) for place in order]
    acks = [
        await device.write(key, str(place), moment, first["offset"])
        for device, moment, place in zip(meeting, moments, order, strict=True)
    ]
    for (place, ack), best in zip(zip(order, acks, strict=True), itertools.accumulate(order, max), strict=True):
        won = ack["status"] in {"applied", "merged"}
        report.concurrent += 1
        report.concurrent_wrong += won is not (place == best)


def main() -> None:
    """Run it against a server of its own; ends with 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # as root, the database runs as another user
        program = Program(Path(folder))
        program.start()
        began = time.monotonic()
        try:
            socket = program.url.replace("http", "ws", 1) + "/api/v1/socket"
            report = asyncio.run(run(socket, program.token("ada"), options.seed, options.rounds))
        finally:
            program.end()
    print(f"{report}; {time.monotonic() - began:.0f} s")
    sys.exit(report.failed)


if __name__ == "__main__":
    main()
