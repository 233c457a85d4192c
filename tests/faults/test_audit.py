"""The account itself: whatever a server may do wrong stands in it, and a right one's is empty."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from syncserver.core import clock
from tests.faults.audit import Account, audit
from tests.faults.history import Entry, Truth
from tests.faults.replica import Replica
from tests.faults.writers import Sent

_T = datetime(2026, 11, 22, 8, 15, tzinfo=UTC)
_ONE, _TWO, _LOST = "m-1", "m-2", "m-3"


def stamp(seconds: int) -> datetime:
    return _T + timedelta(seconds=seconds)


def entry(offset: int, position: str, device: str | None = "d") -> Entry:
    return Entry("book", offset, "put", stamp(offset), device, position)


def sent(mutation_id: str, seconds: int, ack: dict[str, Any]) -> Sent:
    mutation = {"mutation_id": mutation_id, "key": "book", "op": "put", "updated_at": clock.write(stamp(seconds))}
    found = Sent(mutation)
    found.answered({"mutation_id": mutation_id, **ack})
    return found


def wire(entry: Entry) -> dict[str, Any]:
    key, op, updated_at, device_id, position = entry.shown()
    shown = {"key": key, "op": op, "updated_at": updated_at, "device_id": device_id, "offset": entry.offset}
    return {**shown, "data": {"position": position}}


def scene() -> tuple[Account, Truth]:
    """Two writes of `d`, one of `e` that lost, one of somebody at psql; a device that was shown all of it."""
    entries = [entry(1, _ONE), entry(2, _TWO), entry(3, "sql", None)]
    lost = {"mutation_id": _LOST, "status": "superseded", "row": wire(entries[1])}
    account = Account(sql={"sql": True})
    account.sent = {
        ("d", _ONE): sent(_ONE, 1, {"status": "applied", "offset": 1}),
        ("d", _TWO): sent(_TWO, 2, {"status": "applied", "offset": 2}),
        ("e", _LOST): sent(_LOST, 0, lost),
    }
    ledger = {name: (one.ack.get("offset"), one.ack) for name, one in account.sent.items() if one.ack}
    account.replicas["d"] = replica = Replica(account.seen)
    for one, mutation_id in zip(entries, [_ONE, _TWO, None], strict=True):
        row = {**wire(one), **({"mutation_id": mutation_id} if mutation_id else {})}
        replica.changes(f"e.t.{one.offset - 1}", f"e.t.{one.offset}", [row], more=False)
        replica.ready(f"e.t.{one.offset}")
    return account, Truth(entries, 3, ledger)


def test_the_account_of_a_right_server_is_empty():
    assert audit(*scene()) == []


def test_a_removal_of_a_row_that_somebody_else_has_just_deleted_is_judged_against_that_deletion():
    """Its stamp was raised past the deletion's, of which it knew the offset: two entries, two writes."""
    deleted = Entry("book", 4, "remove", stamp(9), None, None, transaction=8)
    removed = Entry("book", 5, "remove", stamp(9) + clock.TICK, "d", None, transaction=9)
    account, truth = scene()
    one = sent("m-4", 8, {"status": "applied", "offset": 5})
    one.mutation |= {"op": "remove", "base": 4}
    account.sent["d", "m-4"] = one
    ledger = {**truth.ledger, ("d", "m-4"): (5, one.ack or {})}
    assert audit(account, Truth([*truth.entries, deleted, removed], 5, ledger)) == []


def test_a_removal_that_got_its_mutations_stamp_counts_once():
    """The deletion's own entry, with a later stamp, is none that anybody ever saw."""
    deleted = Entry("book", 4, "remove", stamp(9), None, None, transaction=8)
    removed = Entry("book", 5, "remove", stamp(8), "d", None, transaction=8)
    account, truth = scene()
    one = sent("m-4", 8, {"status": "applied", "offset": 5})
    one.mutation |= {"op": "remove"}
    account.sent["d", "m-4"] = one
    ledger = {**truth.ledger, ("d", "m-4"): (5, one.ack or {})}
    assert audit(account, Truth([*truth.entries, deleted, removed], 5, ledger)) == []


def _without_last(_: Account, truth: Truth) -> Truth:
    return replace(truth, entries=truth.entries[:-1])


def _twice(_: Account, truth: Truth) -> Truth:
    return replace(truth, entries=[*truth.entries, entry(4, _ONE)], head=4)


def _not_in_ledger(_: Account, truth: Truth) -> Truth:
    return replace(truth, ledger={name: row for name, row in truth.ledger.items() if name[1] != _ONE})


def _other_ledger(_: Account, truth: Truth) -> Truth:
    other = {"mutation_id": _ONE, "status": "merged", "offset": 1}
    return replace(truth, ledger={**truth.ledger, ("d", _ONE): (1, other)})


def _unanswered(account: Account, truth: Truth) -> Truth:
    account.sent["d", _TWO].ack = None
    return truth


def _stamp_falls(_: Account, truth: Truth) -> Truth:
    return replace(truth, entries=[*truth.entries[:2], replace(truth.entries[2], updated_at=stamp(0))])


def _ready_without_a_row(account: Account, truth: Truth) -> Truth:
    account.replicas["d"].whole[2] = {}
    return truth


def _shown_otherwise(account: Account, truth: Truth) -> Truth:
    account.seen.rows[1] = ("book", "put", "another stamp", "d", _ONE)
    return truth


def _of_another_mutation(account: Account, truth: Truth) -> Truth:
    account.seen.mutations[1] = _TWO
    return truth


def _winner_lost(account: Account, truth: Truth) -> Truth:
    account.sent["e", _LOST].mutation["updated_at"] = clock.write(stamp(60))
    return truth


def _direct_write_lost(account: Account, truth: Truth) -> Truth:
    account.sql["another"] = True
    return truth


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (_without_last, "offsets are not 1 to 3"),
        (_twice, "took effect 2 times"),
        (_not_in_ledger, "is not in the ledger"),
        (_other_ledger, "and the ledger says"),
        (_unanswered, "was never answered"),
        (_stamp_falls, "is not past"),
        (_ready_without_a_row, "was told ready at 2"),
        (_shown_otherwise, "offset 1 was shown as"),
        (_of_another_mutation, "was said to be of"),
        (_winner_lost, "should have won"),
        (_direct_write_lost, "direct write another took effect 0 times"),
    ],
)
def test_what_is_wrong_stands_in_the_account(wrong: Callable[[Account, Truth], Truth], sentence: str):
    account, truth = scene()
    assert any(sentence in found for found in audit(account, wrong(account, truth)))
