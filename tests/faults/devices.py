"""The devices of a storm: each reads by one transport after the other, and writes; broken rules are written down."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from syncserver.core import clock
from tests.faults.audit import Account
from tests.faults.readers import READERS, Link, verified
from tests.faults.replica import Replica, Wrong
from tests.faults.writers import NETWORK, Mutation, Outbox, Writer
from tests.harness import token

_CONTENDED = 4
_SKEW_S = 1.0  # below what the server would bound


@dataclass
class Owner:
    """One owner of a storm, and the account of it."""

    user: str
    account: Account = field(default_factory=Account)

    @property
    def name(self) -> str:
        return f"user:{self.user}"


class Device:
    """One device. `wrong` holds what it saw that must not be."""

    def __init__(self, owner: Owner, number: int, port: int, seed: str, transports: Sequence[str]) -> None:
        self.name = name = f"d{number}"
        self.owner = owner
        self._dice = random.Random(seed)
        self._transports = transports
        self.outbox = Outbox()
        self.replica = owner.account.replicas[name] = Replica(owner.account.seen)
        self._link = Link(
            port, token(owner.user), name, self.replica, random.Random(f"{seed} reads"), self.outbox.acked
        )
        self._writer = Writer(self._link, self.outbox, random.Random(f"{seed} writes"))
        self._skew = timedelta(seconds=self._dice.uniform(-_SKEW_S, _SKEW_S))
        self._stamp = datetime.min.replace(tzinfo=UTC)
        self._calm = asyncio.Event()
        self._dwell: asyncio.Timeout | None = None
        self.by = transports[number // 2 % len(transports)]
        self.wrong: list[str] = []
        self.used: set[str] = set()

    def settle(self) -> None:
        """No more changes of transport of its own accord."""
        self._link.patient = True
        self._calm.set()
        if self._dwell is not None:
            with suppress(RuntimeError):  # it is over just now
                self._dwell.reschedule(None)

    async def read(self) -> None:
        """Read by one transport after the other until cancelled, or until something is wrong."""
        while not self.wrong:
            self.used.add(self.by)
            try:
                async with asyncio.timeout(None if self._link.patient else self._dice.uniform(0.3, 3.0)) as self._dwell:
                    await READERS[self.by](self._link)
            except NETWORK:
                pass
            except Wrong as wrong:
                self._note(wrong)
            except (KeyError, ValueError) as malformed:
                self._note(Wrong(f"a malformed message: {malformed!r}"))
            if self._dice.random() < 0.03 and not self._link.patient:
                self.replica.tell("forgets everything")
                self.replica.forget()
            self.by = self._dice.choice(self._transports)
            await asyncio.sleep(self._dice.uniform(0, 0.05))

    async def verify(self) -> None:
        """Have the server confirm, by a digest, that this device holds what it should."""
        try:
            await verified(self._link)
        except Wrong as wrong:
            self._note(wrong)

    async def write(self, every_s: float) -> None:
        """Push about so often until settled, and then once more; each push is sent until it is answered."""
        number = 0
        while not self._calm.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._dice.expovariate(1 / every_s)):
                    await self._calm.wait()
            number += 1
            batch = [self._mutation(f"{number}-{n}") for n in range(self._dice.choice([1, 1, 1, 2, 3]))]
            try:
                await self._writer.write(batch)
            except Wrong as wrong:
                self._note(wrong)
                return

    def _note(self, wrong: Wrong) -> None:
        self.wrong.append(f"{self.name} by {self.by}: {wrong}")

    def _mutation(self, number: str) -> Mutation:
        dice, mutation_id = self._dice, str(UUID(int=self._dice.getrandbits(128), version=4))
        contended = dice.random() < 0.6
        key = f"all-{dice.randrange(_CONTENDED)}" if contended else f"{self.name}-{number}"
        op = dice.choices(["put", "patch", "remove"], [7, 2, 1])[0] if contended else "put"
        held = self.replica.rows.get(key)
        self._stamp = max(datetime.now(UTC) + self._skew, self._stamp + clock.TICK)
        return {
            "mutation_id": mutation_id,
            "resource": "progress",
            "key": key,
            "op": op,
            "data": None if op == "remove" else {"position": mutation_id},
            "base": held["offset"] if held and dice.random() < 0.5 else None,
            "updated_at": clock.write(self._stamp),
        }
