"""Writes that wait for their ack, in order: pure but for the futures that writers await and the store's queue.

A mutation is encoded once and from then on never changes: whatever is sent again, over whichever transport, in
this run of the program or the next, is the same write with the same id and stamp, so the server can know it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from syncserver_client import fleeting
from syncserver_client.backoff import Backoff
from syncserver_client.clock import Clock
from syncserver_client.errors import SyncError
from syncserver_client.kept_queue import Kept, KeptQueue
from syncserver_client.mutation import Ack, Mutation
from syncserver_client.socket import Limits
from syncserver_client.wire import decode_object, encode, encode_strictly, format_stamp

ENVELOPE_BYTES = 1024  # room for what stands around the mutations in a frame
REMEMBERED = 1024  # answered writes that the server never saw, and that may be named or queued once more
Settled = Callable[[Sequence[tuple["Entry", Ack]]], None]


@dataclass(slots=True, eq=False)
class Entry:
    """One mutation on its way. `due`: when it may be sent (again), by the caller's monotonic seconds."""

    mutation: Mutation
    base: int | None
    made_at: datetime  # by the device's own clock; corrected when it is encoded, when the correction is known
    backoff: Backoff
    answer: asyncio.Future[Ack] | None = None  # None: nobody waits for it
    stays: bool = False  # whether or not anybody waits for it
    due: float = 0.0
    body: bytes = b""
    sent: bool = False  # in the socket's last frame, and not answered yet
    alone: bool = False  # shares no frame: something in its last one was refused as a whole
    bare: bool = False  # what would have stood for it was refused: it goes itself
    known: Ack | None = None  # it was answered before it was queued (again)


class Outbox:
    """All entries by mutation id, oldest first. `stirred` is set whenever something may have become sendable.

    `queue`: where entries are kept beyond this run; they stay then when their writer no longer waits. `settled`
    hears of entries with their answers, before their writers do.
    """

    def __init__(
        self,
        clock: Clock,
        backoff: Backoff,
        queue: KeptQueue | None = None,
        settled: Settled = lambda _: None,
    ) -> None:
        self._clock = clock
        self._backoff = backoff
        self._queue = queue
        self._settled = settled
        self._entries: dict[str, Entry] = {}
        self._raw: list[Entry] = []  # kept in the queue without a body: the clock was not known when they were made
        self._unsent: dict[str, Ack] = {}  # answers of writes for which a later one stood, the latest last
        for ack in queue.unheard_fleeting() if queue is not None else ():
            self._remember(ack)
        self.stirred = asyncio.Event()
        for kept in queue.waiting() if queue is not None else ():
            entry = Entry(kept.mutation, kept.base, kept.made_at, backoff.again(), stays=True, body=kept.body)
            self._entries[kept.mutation.mutation_id] = entry
            if not entry.body:
                self._raw.append(entry)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def waiting(self) -> list[Mutation]:
        """What has no answer yet, oldest first."""
        return [entry.mutation for entry in self._entries.values()]

    def add(self, mutation: Mutation, base: int | None) -> Entry:
        """As `add_all`, for one whose answer is awaited."""
        return self.add_all([(mutation, base)])[0]

    def add_all(self, mutations: Sequence[tuple[Mutation, int | None]], *, awaited: bool = True) -> list[Entry]:
        """Queue mutations with their bases, all or none; durable at the queue's next commit.

        TypeError or ValueError if a value is no JSON, or an id no UUID or taken. One that waits already, but not for
        its writer's sake, is taken up again instead of twice. One that another stood for has its answer at once.
        """
        self._check([mutation for mutation, _ in mutations])
        entries = [self._entry(mutation, base) for mutation, base in mutations]
        for entry in entries:
            entry.stays = entry.stays or self._queue is not None or not awaited
            entry.answer = asyncio.get_running_loop().create_future() if awaited else None
            if entry.known is not None and entry.answer is not None:
                entry.answer.set_result(entry.known)
        self.stirred.set()
        return entries

    def listen(self, mutation_id: str) -> asyncio.Future[Ack] | None:
        """The answer to a write that waits; None if it does not, or somebody else listens. Ends by `unheard`.

        Unlike one that was awaited from its beginning it stays in the queue whether or not anybody listens.
        """
        entry = self._entries.get(mutation_id)
        if entry is None or entry.answer is not None:
            return None
        entry.answer = asyncio.get_running_loop().create_future()
        return entry.answer

    def unheard(self, mutation_ids: Iterable[str]) -> None:
        """Nobody listens to these any more."""
        for mutation_id in mutation_ids:
            entry = self._entries.get(mutation_id)
            if entry is not None:
                entry.answer = None

    def _check(self, mutations: Sequence[Mutation]) -> None:
        ids = set()
        for mutation in mutations:
            encode_strictly(mutation.value)
            if mutation.mutation_id != str(UUID(mutation.mutation_id)):
                # The server answers in this form; an ack for another spelling would never be recognised.
                raise ValueError("a mutation id is a UUID in lower case")
            present = self._entries.get(mutation.mutation_id)
            if mutation.mutation_id in ids or (present is not None and present.answer is not None):
                raise ValueError("this mutation is waiting for its ack already")
            ids.add(mutation.mutation_id)

    def _entry(self, mutation: Mutation, base: int | None) -> Entry:
        present = self._entries.get(mutation.mutation_id)
        if present is not None:
            return present
        entry = Entry(mutation, base, self._clock.raw(), self._backoff.again())
        if mutation.mutation_id in self._unsent:
            entry.known = replace(self._unsent[mutation.mutation_id], status="duplicate")
            return entry
        self._entries[mutation.mutation_id] = entry
        if self._queue is not None:
            self._queue.add(Kept(mutation, base, entry.made_at))
            self._raw.append(entry)
            if self._clock.known:
                self._encode_all()
        return entry

    def _encode_all(self) -> None:
        """All that has no stamp yet gets one, oldest first: a later write never has the older stamp."""
        for entry in self._raw:
            self._encoded(entry)
        self._raw.clear()

    def let_go(self, entries: Iterable[Entry]) -> list[Entry]:
        """Their writer no longer waits; those that are forgotten with that."""
        forgotten = []
        for entry in entries:
            entry.answer = None
            if not entry.stays and self._entries.pop(entry.mutation.mutation_id, None) is not None:
                forgotten.append(entry)
        return forgotten

    def batch(self, now: float, limits: Limits) -> list[Entry]:
        """What to send next, within the limits of one frame. One that alone is too large is rejected here."""
        self._encode_all()
        chosen = self._chosen(now, limits)
        if self._queue is not None:
            self._queue.commit()  # what is sent can be sent again, byte for byte, whatever happens now
        return chosen

    def _chosen(self, now: float, limits: Limits) -> list[Entry]:
        chosen: list[Entry] = []
        room = limits.frame_bytes - ENVELOPE_BYTES
        held = self._held()
        standing = set(held.values())
        for entry in tuple(self._entries.values()):
            if entry.due > now:
                # What is on its way, or waits for another try, holds back what came after it. The server may put an
                # early write off and take a later one that was sent behind it; then the early one would lose.
                break
            size = len(self._encoded(entry)) + 1  # of one that is held back too: its stamp is older than the next
            if entry.mutation.mutation_id in held:
                continue
            if size > limits.frame_bytes - ENVELOPE_BYTES:
                self.reject([entry], "too_large", "larger than a frame may be")
                if entry.mutation.mutation_id in standing:
                    break  # what it stood for comes before the rest
                continue
            if len(chosen) >= limits.mutations or size > room or _apart(entry, chosen, standing):
                break
            chosen.append(entry)
            room -= size
        return chosen

    def _held(self) -> dict[str, str]:
        return fleeting.held(self._entries.values())

    def next_due(self) -> float | None:
        """When there may be something to send; None if nothing waits. What is older holds back the rest."""
        held, due = self._held(), None
        for entry in self._entries.values():
            due = entry.due if due is None else max(due, entry.due)
            if entry.mutation.mutation_id not in held:
                break
        return due

    def sent(self, entries: Sequence[Entry], due: float) -> None:
        """These went out in one frame of the socket; if no ack comes, send them again at `due`."""
        for entry in entries:
            entry.due, entry.sent = due, True

    def postpone(self, entries: Iterable[Entry], now: float, retry_after_s: float | None = None) -> None:
        """An attempt failed: wait before the next, longer each time."""
        for entry in entries:
            entry.due = now + entry.backoff.next_s(retry_after_s)

    def answer(self, acks: Iterable[Ack], now: float) -> list[tuple[Mutation, Ack]]:
        """Take acks; those that settled a mutation. `deferred` settles nothing: it is sent again after a pause."""
        settled: dict[str, tuple[Entry, Ack]] = {}
        for ack in acks:
            entry = self._entries.get(ack.mutation_id)
            if entry is None:
                continue
            if ack.status == "deferred":
                entry.sent = False
                self.postpone([entry], now)
                self.stirred.set()
                continue
            settled.setdefault(ack.mutation_id, (entry, ack))
        if settled:
            self.stirred.set()
        return [(entry.mutation, ack) for entry, ack in self._settle(list(settled.values()))]

    def rebase(self) -> None:
        """All is fetched again, so no offset means what it did: each write that waits goes by its stamp alone.

        But for that it stays what it was, and its id is the same: what the server has answered already, it answers so.
        """
        for entry in self._entries.values():
            if entry.base is None:
                continue
            entry.base = None
            entry.body = encode({**decode_object(entry.body), "base": None}) if entry.body else b""
            if self._queue is not None:
                self._queue.rebased(Kept(entry.mutation, None, entry.made_at, entry.body))

    def cut(self) -> None:
        """The way to the server is another one: all that nobody acked goes out at once, over whatever works."""
        for entry in self._entries.values():
            entry.sent, entry.due = False, 0.0
        self.stirred.set()

    def too_large(self) -> None:
        """The server closed over the size of the frame that was on its way."""
        self.refused([entry for entry in self._entries.values() if entry.sent], "too_large", "frame too large")

    def refused(self, entries: Sequence[Entry], code: str, detail: str) -> None:
        """What was sent was refused as a whole: each goes alone, so that only the guilty one fails."""
        if len(entries) == 1:
            self.reject(entries, code, detail)
        for entry in entries:
            entry.alone = True

    def reject(self, entries: Iterable[Entry], code: str, detail: str) -> None:
        """Settle entries as the server would with status `rejected`."""
        self._settle([(e, Ack(e.mutation.mutation_id, "rejected", code=code, detail=detail)) for e in entries])

    def fail(self, error: SyncError) -> None:
        """Nothing will be sent any more in this run."""
        for entry in self._entries.values():
            if entry.answer is not None and not entry.answer.done():
                entry.answer.set_exception(error)
        self._entries.clear()

    def _settle(self, answered: Sequence[tuple[Entry, Ack]]) -> Sequence[tuple[Entry, Ack]]:
        """Take away what was answered, and what it stood for; all of it, told to whoever waits."""
        if not answered:
            return ()
        settled = [*self._stood_for(answered), *answered]
        for entry, _ in settled:
            self._entries.pop(entry.mutation.mutation_id, None)
        self._settled(settled)
        for entry, ack in settled:
            if entry.answer is not None and not entry.answer.done():
                entry.answer.set_result(ack)
        return settled

    def _stood_for(self, answered: Sequence[tuple[Entry, Ack]]) -> list[tuple[Entry, Ack]]:
        """The writes that need not be sent any more, oldest first; where the later one was refused, they must."""
        acks = {entry.mutation.mutation_id: ack for entry, ack in answered}
        found: list[tuple[Entry, Ack]] = []
        for name, later in self._held().items():
            if name in acks or later not in acks:
                continue
            acks[name] = ack = replace(acks[later], mutation_id=name)
            if ack.refused:
                self._entries[name].bare = True
            else:
                found.append((self._entries[name], ack))
                self._remember(ack)
        return found[::-1]

    def _remember(self, ack: Ack) -> None:
        """The server has never seen this write, so who names it or queues it again gets its answer here."""
        self._unsent[ack.mutation_id] = ack
        if len(self._unsent) > REMEMBERED:
            del self._unsent[next(iter(self._unsent))]

    def _encoded(self, entry: Entry) -> bytes:
        if not entry.body:
            entry.body = encode_strictly(self._wire(entry))
            if self._queue is not None:
                self._queue.encoded(entry.mutation.mutation_id, entry.body, self._clock.last)
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
        after = [name for name in mutation.after if name not in self._unsent]
        if after:
            wire["after"] = after
        return wire


def _apart(entry: Entry, chosen: Sequence[Entry], standing: Container[str]) -> bool:
    """Whether it may not share a frame with these: what they stand for would come before it, if they are refused."""
    if not chosen:
        return False
    rows = {other.mutation.row_id for other in chosen if other.mutation.mutation_id in standing} if standing else ()
    return entry.alone or chosen[0].alone or entry.mutation.row_id in rows
