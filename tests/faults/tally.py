"""A counter that shows every application of a mutation: each write of a row adds the amount that it carries.

A trigger in the test's database writes one line for each time that a row is written, whatever it held before; so what
is applied twice stands there twice, and the sums are off. Writes are made so that applying one again always writes:
they win by policy, with a stamp from long ago that is raised past the row's.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

import psycopg

from tests.faults.writers import Mutation, Sent, meaning

KEYS = 4
_LONG_AGO = "2020-01-01T00:00:00.000000Z"
_INSTALL: LiteralString = """
CREATE TABLE test_tally (owner text, key text, mutation text, amount bigint);
CREATE FUNCTION test_count() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
  INSERT INTO test_tally VALUES (new.owner, new.publication_id,
    split_part(new.position, ' ', 1), split_part(new.position, ' ', 2)::bigint);
  RETURN NULL;
END $$;
CREATE TRIGGER test_count AFTER INSERT OR UPDATE ON reading_progress FOR EACH ROW EXECUTE FUNCTION test_count();
"""
_LEDGER: LiteralString = "SELECT client_id, mutation_id::text, ack FROM mutations WHERE owner = %s"

Name = tuple[str, str]
"""Device and mutation id."""


def install(sql: psycopg.Connection) -> None:
    """Have the database count from now on."""
    sql.execute(_INSTALL)


def begin(sql: psycopg.Connection, owner: str) -> None:
    """The owner's counters, which a first write would otherwise make: that one could be repeated unseen."""
    for number in range(KEYS):
        sql.execute(
            "INSERT INTO reading_progress (owner, publication_id, position) VALUES (%s, %s, 'none 0')",
            [owner, f"counter-{number}"],
        )


def addition(mutation_id: UUID, key: int, amount: int) -> Mutation:
    """A mutation that adds."""
    return {
        "mutation_id": str(mutation_id),
        "resource": "progress",
        "key": f"counter-{key}",
        "op": "put",
        "data": {"position": f"{mutation_id} {amount}"},
        "policy": "client-wins",
        "updated_at": _LONG_AGO,
    }


@dataclass(frozen=True, slots=True)
class Kept:
    """What the database holds of one owner: how often each mutation was applied, the sums, ledger and conflicts."""

    applied: Counter[str]
    sums: Mapping[str, int]
    ledger: Mapping[Name, Mapping[str, object]]
    conflicts: Counter[str]


def read(sql: psycopg.Connection, owner: str) -> Kept:
    """The same, read past the server."""
    lines = sql.execute("SELECT key, mutation, amount FROM test_tally WHERE owner = %s", [owner]).fetchall()
    sums: Counter[str] = Counter()
    for key, _, amount in lines:
        sums[key] += amount
    ledger = {(device, mutation): ack for device, mutation, ack in sql.execute(_LEDGER, [owner])}
    conflicts = Counter(found for (found,) in sql.execute("SELECT id::text FROM conflicts WHERE owner = %s", [owner]))
    return Kept(Counter(mutation for _, mutation, _ in lines), sums, ledger, conflicts)


def audit(sent: Mapping[Name, Sent], kept: Kept) -> Iterator[str]:
    """Everything that is wrong, a sentence each."""
    sums: Counter[str] = Counter()
    conflicts: Counter[str] = Counter()
    for name, one in sent.items():
        yield from _single(name, one, kept)
        position = one.mutation["data"]["position"]
        sums[one.mutation["key"]] += int(position.split()[1])
        if one.ack and "conflict_id" in one.ack:
            conflicts[one.ack["conflict_id"]] += 1
    for name in kept.ledger.keys() - sent.keys():
        yield f"{name} is in the ledger, and nobody sent it"
    for key in sums.keys() | kept.sums.keys():
        if sums[key] != kept.sums.get(key, 0):
            yield f"{key} is {kept.sums.get(key, 0)} and should be {sums[key]}"
    if conflicts != kept.conflicts:
        yield f"{kept.conflicts.total()} conflicts are recorded, and the answers name {conflicts.total()}"


def _single(name: Name, sent: Sent, kept: Kept) -> Iterator[str]:
    times, entry = kept.applied[name[1]], kept.ledger.get(name)
    if times != 1:
        yield f"{name} was applied {times} times"
    if sent.ack is None:
        yield f"{name} was never answered"
    elif entry is None:
        yield f"{name} was answered {dict(sent.ack)}, and is not in the ledger"
    elif meaning(entry) != meaning(sent.ack) or entry["status"] != "applied":
        yield f"{name} was answered {dict(sent.ack)}, and the ledger says {dict(entry)}"
