"""Writes that wait for their ack, in memory and in order: pure but for the futures that the writers await.

A mutation is encoded at its first send and from then on never changes: whatever is sent again, over whichever
transport, is the same write with the same id and stamp, so the server can know it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from syncserver_client.backoff import Backoff
from syncserver_client.clock import Clock
from syncserver_client.errors import SyncError
from syncserver_client.model import Ack, Mutation
from syncserver_client.socket import Limits
from syncserver_client.wire import encode_strictly, format_stamp

ENVELOPE_BYTES = 1024  # room for what stands around the mutations in a frame


@dataclass(slots=True, eq=False)
class Entry:
    """One mutation on its way. `due`: when it may be sent (again), by the caller's monotonic seconds."""

    mutation: Mutation
    base: int | None
    made_at: datetime  # by the device's own clock; corrected at the first send, when the correction is known
    answer: asyncio.Future[Ack]
    backoff: Backoff
    due: float = 0.0
    body: bytes = b""
    frame: int = 0  # number of the socket frame that last carried it; 0 for none
    alone: bool = False  # shares no frame: something in its last one was refused as a whole


class Outbox:
    """All entries by mutation id, oldest first. `stirred` is set whenever something may have become sendable."""

    def __init__(self, clock: Clock, backoff: Backoff) -> None:
        self._clock = clock
        self._backoff = backoff
        self._entries: dict[str, Entry] = {}
        self._frame_bytes: dict[int, int] = {}
        self._frames = 0
        self.stirred = asyncio.Event()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, mutation: Mutation, base: int | None) -> Entry:
        """Queue a mutation; TypeError or ValueError if its value is no JSON, or its id no UUID or taken."""
        encode_strictly(mutation.value)
        if mutation.mutation_id != str(UUID(mutation.mutation_id)):
            # The server answers in this form; an ack for another spelling would never be recognised.
            raise ValueError("a mutation id is a UUID in lower case")
        if mutation.mutation_id in self._entries:
            raise ValueError("this mutation is waiting for its ack already")
        answer: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        entry = Entry(mutation, base, self._clock.raw(), answer, self._backoff.again())
        self._entries[mutation.mutation_id] = entry
        self.stirred.set()
        return entry

    def drop(self, entries: Iterable[Entry]) -> None:
        """Forget entries whose writer no longer waits."""
        for entry in entries:
            self._entries.pop(entry.mutation.mutation_id, None)

    def batch(self, now: float, limits: Limits) -> list[Entry]:
        """What to send next, within the limits of one frame. One that alone is too large is rejected here."""
        chosen: list[Entry] = []
        room = limits.frame_bytes - ENVELOPE_BYTES
        for entry in tuple(self._entries.values()):
            if entry.due > now and not entry.frame:
                break  # what waits for another try holds back what came after it: the server gets writes in order
            if entry.due > now:
                continue
            size = len(self._encoded(entry)) + 1
            if size > limits.frame_bytes - ENVELOPE_BYTES:
                self.reject([entry], "too_large", "larger than a frame may be")
                continue
            if len(chosen) >= limits.mutations or size > room or (chosen and (entry.alone or chosen[0].alone)):
                break
            chosen.append(entry)
            room -= size
        return chosen

    def next_due(self) -> float | None:
        """When there may be something to send; None if nothing waits. What is not on its way holds back the rest."""
        due: list[float] = []
        for entry in self._entries.values():
            due.append(entry.due)
            if not entry.frame:
                break
        return min(due, default=None)

    def sent(self, entries: Sequence[Entry], due: float) -> None:
        """These went out in one frame of the socket; if no ack comes, send them again at `due`."""
        self._frames += 1
        self._frame_bytes[self._frames] = sum(len(entry.body) for entry in entries)
        for entry in entries:
            entry.due = due
            entry.frame = self._frames

    def postpone(self, entries: Iterable[Entry], now: float, retry_after_s: float | None = None) -> None:
        """An attempt failed: wait before the next, longer each time."""
        for entry in entries:
            entry.due = now + entry.backoff.next_s(retry_after_s)

    def answer(self, acks: Iterable[Ack], now: float) -> list[tuple[Mutation, Ack]]:
        """Take acks; those that settled a mutation. `deferred` settles nothing: it is sent again after a pause."""
        settled = []
        for ack in acks:
            entry = self._entries.get(ack.mutation_id)
            if entry is None:
                continue
            if ack.status == "deferred":
                entry.frame = 0
                self.postpone([entry], now)
                self.stirred.set()
                continue
            self._settle(entry, ack)
            settled.append((entry.mutation, ack))
        return settled

    def cut(self) -> None:
        """The way to the server is another one: all that nobody acked goes out at once, over whatever works."""
        for entry in self._entries.values():
            entry.frame, entry.due = 0, 0.0
        self._frame_bytes.clear()
        self.stirred.set()

    def too_large(self) -> None:
        """The server closed over the size of a frame: of the unanswered ones it can only be the largest."""
        waiting = {entry.frame for entry in self._entries.values() if entry.frame}
        if waiting:
            largest = max(waiting, key=lambda frame: self._frame_bytes[frame])
            self.reject([e for e in self._entries.values() if e.frame == largest], "too_large", "frame too large")

    def refused(self, entries: Sequence[Entry], code: str, detail: str) -> None:
        """A body was refused as a whole: each goes alone, so that only the guilty one fails."""
        if len(entries) == 1:
            self.reject(entries, code, detail)
        for entry in entries:
            entry.alone = True

    def reject(self, entries: Iterable[Entry], code: str, detail: str) -> None:
        """Settle entries as the server would with status `rejected`."""
        for entry in tuple(entries):
            self._settle(entry, Ack(entry.mutation.mutation_id, "rejected", code=code, detail=detail))

    def fail(self, error: SyncError) -> None:
        """Nothing will be sent any more."""
        for entry in self._entries.values():
            if not entry.answer.done():
                entry.answer.set_exception(error)
        self._entries.clear()

    def _settle(self, entry: Entry, ack: Ack) -> None:
        self.drop([entry])
        if not entry.answer.done():
            entry.answer.set_result(ack)

    def _encoded(self, entry: Entry) -> bytes:
        if not entry.body:
            entry.body = encode_strictly(self._wire(entry))
        return entry.body

    def _wire(self, entry: Entry) -> dict[str, object]:
        mutation = entry.mutation
        wire: dict[str, object] = {
            "mutation_id": mutation.mutation_id,
            "resource": mutation.resource,
            "key": mutation.key,
            "op": mutation.op,
            "data": mutation.value,
            "base": entry.base,
            "updated_at": format_stamp(mutation.updated_at or self._clock.stamp(entry.made_at)),
        }
        if mutation.policy is not None:
            wire["policy"] = mutation.policy
        if mutation.after:
            wire["after"] = list(mutation.after)
        return wire
