"""The queue of writes in the store: what waits for its answer, and what was answered but not seen or heard of yet.

`queue` holds a write from its making to its ack, in the order of `seq`, which only grows. `answered` holds it on
while its own change has not come back (`unshown`), and while no program has heard its ack (`unheard`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from syncserver_client.mutation import Ack, Mutation
from syncserver_client.store import Store
from syncserver_client.wire import decode_object, encode, format_stamp, optional_stamp, parse_stamp

UNHEARD = 10_000  # acks kept for a program that does not ask for them; older ones are let go
_ANSWER = """INSERT OR REPLACE INTO answered
  SELECT seq, mutation_id, mutation, ?, ?, ? FROM queue WHERE mutation_id = ?"""
_FORGET_OLD = "UPDATE answered SET unheard = 0 WHERE seq <= (SELECT max(seq) FROM answered) - ?"
_SWEEP = "DELETE FROM answered WHERE NOT unshown AND NOT unheard"


@dataclass(frozen=True, slots=True)
class Kept:
    """A write as the store has it. `ack`: its answer, where only its own change is missing still."""

    mutation: Mutation
    base: int | None
    made_at: datetime
    body: bytes = b""
    ack: Ack | None = None


class KeptQueue:
    """Collects what happens to the queue; whoever made it happen commits."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def waiting(self) -> list[Kept]:
        """Writes without an answer, oldest first."""
        found = self._store.read("SELECT mutation, body FROM queue ORDER BY seq")
        return [_kept(mutation, body) for mutation, body in found]

    def unshown(self) -> list[Kept]:
        """Writes whose own change had not come back, answered or not, oldest first."""
        found = self._store.read(
            "SELECT seq, mutation, body, NULL FROM queue"
            " UNION ALL SELECT seq, mutation, NULL, ack FROM answered WHERE unshown ORDER BY 1"
        )
        return [_kept(mutation, body, ack) for _, mutation, body, ack in found]

    def unheard(self) -> list[Ack]:
        """Acks that nobody took, oldest first."""
        found = self._store.read("SELECT ack FROM answered WHERE unheard ORDER BY seq")
        return [Ack.from_wire(decode_object(ack)) for (ack,) in found]

    def unheard_fleeting(self) -> list[Ack]:
        """Of these, those of fleeting writes, which the server may never have seen."""
        found = self._store.read(
            "SELECT ack FROM answered WHERE unheard AND json_extract(CAST(mutation AS TEXT), '$.fleeting') ORDER BY seq"
        )
        return [Ack.from_wire(decode_object(ack)) for (ack,) in found]

    def add(self, kept: Kept) -> None:
        """A write waits."""
        self._store.write(
            "INSERT INTO queue (mutation_id, mutation, body) VALUES (?, ?, ?)",
            kept.mutation.mutation_id,
            _record(kept),
            kept.body or None,
        )

    def encoded(self, mutation_id: str, body: bytes, stamp: datetime | None) -> None:
        """It has the form in which it will be sent, for ever; `stamp`: the latest that the clock gave."""
        self._store.write("UPDATE queue SET body = ? WHERE mutation_id = ?", body, mutation_id)
        if stamp is not None:
            self._store.remember("last_stamp", format_stamp(stamp))

    def rebased(self, kept: Kept) -> None:
        """It has another base than when it was made."""
        self._store.write(
            "UPDATE queue SET mutation = ?, body = ? WHERE mutation_id = ?",
            _record(kept),
            kept.body or None,
            kept.mutation.mutation_id,
        )

    def answered(self, ack: Ack, *, unshown: bool, unheard: bool) -> None:
        """It waits no more."""
        if unshown or unheard:
            self._store.write(_ANSWER, encode(ack.to_wire()), unshown, unheard, ack.mutation_id)
        if unheard:
            self._store.write(_FORGET_OLD, UNHEARD)
            self._store.write(_SWEEP)
        self._store.write("DELETE FROM queue WHERE mutation_id = ?", ack.mutation_id)

    def shown(self, mutation_id: str) -> None:
        """Its own change came back, or never will."""
        self._done("unshown", mutation_id)

    def heard(self, mutation_id: str) -> None:
        """A program took its ack."""
        self._done("unheard", mutation_id)

    def _done(self, what: str, mutation_id: str) -> None:
        self._store.write(f"UPDATE answered SET {what} = 0 WHERE mutation_id = ?", mutation_id)
        self._store.write(_SWEEP)

    def commit(self) -> None:
        """See Store."""
        self._store.commit()


def _record(kept: Kept) -> bytes:
    mutation = kept.mutation
    return encode(
        {
            "mutation_id": mutation.mutation_id,
            "resource": mutation.resource,
            "key": mutation.key,
            "op": mutation.op,
            "data": mutation.value,
            "base": kept.base,
            "updated_at": format_stamp(mutation.updated_at) if mutation.updated_at else None,
            "made_at": format_stamp(kept.made_at),
            "policy": mutation.policy,
            "after": mutation.after,
            "fleeting": mutation.fleeting,
        }
    )


def _kept(record: bytes, body: bytes | None, ack: bytes | None = None) -> Kept:
    known = decode_object(record)
    mutation = Mutation(
        known["op"],
        known["resource"],
        known["key"],
        known["data"],
        known["base"],
        optional_stamp(known["updated_at"]),
        known["policy"],
        tuple(known["after"]),
        known["mutation_id"],
        known.get("fleeting", False),
    )
    answer = Ack.from_wire(decode_object(ack)) if ack is not None else None
    return Kept(mutation, known["base"], parse_stamp(known["made_at"]), body or b"", answer)
