"""Two devices of one reader that write the same reading session at once, each as if it were alone.

What a device does follows from a seed: whole rows and patches, every action, removals, sessions that go on from the
other; knowing the row or not; with stamps of the last hour in coarse steps, so that they tie; in batches, some of it
sent twice. What was deferred is sent again until it is answered.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from syncserver.core.actor import Device
from syncserver.engine.decide import Sender
from syncserver.engine.push import Push

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
Raw = dict[str, Any]
_RESOURCE = "reading_sessions"
_OPS = (
    ("put", 4),
    ("patch", 5),
    ("complete", 4),
    ("pause", 2),
    ("resume", 2),
    ("abandon", 2),
    ("remove", 2),
    ("go on", 3),
)
_STATUSES = ("active", "active", "paused", "abandoned", "completed")
_POLICIES = (None, None, None, None, "last-write-wins", "server-wins", "client-wins")


def uuid(dice: random.Random) -> str:
    """An id that follows from the seed."""
    return str(UUID(int=dice.getrandbits(128), version=4))


def at(minutes: float) -> str:
    """A stamp so many minutes from now."""
    return (NOW + timedelta(minutes=minutes)).isoformat()


def page(dice: random.Random) -> Raw:
    """Somewhere in the book."""
    return {"href": "moby.xhtml", "type": "text/html", "locations": {"position": dice.randint(1, 300)}}


def content(dice: random.Random) -> Raw:
    """Some fields of a session, at random."""
    fields: Raw = {
        "title": dice.choice(["Moby-Dick", "The Whale"]),
        "percentage": dice.randint(0, 10) / 10,
        "active_seconds": 60 * dice.randint(0, 40),
        "locator": page(dice),
        "state": {"font": dice.choice(["serif", "sans"]), "zoom": dice.randint(1, 9)},
        "started_at": at(-dice.randint(60, 70)),
        "last_activity": at(-dice.randint(-5, 50)),
    }
    return {name: value for name, value in fields.items() if dice.random() < 0.5}


@dataclass
class Racer:
    """One device. `sent`: its mutations by id, as they were; `answers`: all that it heard of each, in order."""

    owner: str
    name: str
    session: str
    door: Push
    dice: random.Random
    sent: dict[str, Raw] = field(default_factory=dict)
    answers: dict[str, list[Raw]] = field(default_factory=dict)
    again: int = 0

    def __post_init__(self) -> None:
        self._sender = Sender(self.owner, Device(self.name, f"Ada's {self.name}"), f"client of {self.name}")
        self._seen: dict[str, int] = {}
        self._own: list[str] = []

    async def run(self, number: int) -> None:
        """Write so many times, in batches."""
        while number > 0:
            batch = [self._made() for _ in range(min(number, self.dice.choice([1, 1, 2, 3])))]
            number -= len(batch)
            await self.send(batch)
            if self.dice.random() < 0.2:
                await asyncio.sleep(0)

    async def send(self, batch: Sequence[Raw]) -> None:
        """Send these, now and then twice at once, and what is deferred again."""
        self.sent |= {mutation["mutation_id"]: mutation for mutation in batch}
        waiting = list(batch)
        while waiting:
            repeated = self.dice.sample(sorted(self.sent), 1) if self.dice.random() < 0.15 else []
            outgoing = [*waiting, *(self.sent[name] for name in repeated)]
            for ack in orjson.loads(orjson.dumps(await self.door.push(self._sender, outgoing))):
                if ack["status"] == "deferred":
                    self.again += 1
                else:
                    self.answers.setdefault(ack["mutation_id"], []).append(ack)
                    self._note(ack)
            waiting = [mutation for mutation in waiting if mutation["mutation_id"] not in self.answers]

    def _note(self, ack: Raw) -> None:
        offset = ack.get("offset") or (ack.get("row") or {}).get("offset")
        if offset:
            self._seen[self.sent[ack["mutation_id"]]["key"]] = offset

    def _made(self) -> Raw:
        names, weights = zip(*_OPS, strict=True)
        op = self.dice.choices(names, weights)[0]
        if op == "go on":
            return self._goes_on()
        key = self.dice.choice(self._own) if self._own and self.dice.random() < 0.5 else self.session
        fields = content(self.dice) if op in {"put", "patch"} or self.dice.random() < 0.3 else {}
        if op == "put":
            fields |= {"publication_id": "moby", "status": self.dice.choice(_STATUSES)}
            fields |= {"resumed_from": self.session} if key != self.session else {}
        elif op == "patch" and (self.dice.random() < 0.2 or not fields):
            fields["status"] = self.dice.choice(_STATUSES)
        return self.mutation(op, key, None if op == "remove" or not fields else fields)

    def _goes_on(self) -> Raw:
        self._own.append(uuid(self.dice))
        fields = {"publication_id": "moby", "resumed_from": self.session, **content(self.dice)}
        return self.mutation("put", self._own[-1], fields)

    def mutation(self, op: str, key: str, fields: Raw | None) -> Raw:
        """One mutation with a stamp, a base and a policy at random."""
        return {
            "mutation_id": uuid(self.dice),
            "resource": _RESOURCE,
            "key": key,
            "op": op,
            "data": fields,
            "updated_at": at(self.dice.choice([-50, -40, -30, -20, -10, -5, 0, 5])),
            "base": self._base(key),
            "policy": self.dice.choice(_POLICIES),
        }

    def _base(self, key: str) -> int | None:
        """What it last saw, most of the time; or nothing, or what it cannot have seen."""
        return self.dice.choice([self._seen.get(key), self._seen.get(key), None, self.dice.randint(1, 12)])
