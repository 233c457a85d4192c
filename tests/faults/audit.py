"""The account of one owner after a run: what the devices were shown and told, held against what the database kept.

Each function gives sentences, one for each thing that is wrong.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from syncserver.core import clock
from syncserver.core.resolver import ConflictResolver, Version
from tests.faults.history import Entry, Truth
from tests.faults.replica import Replica, Seen
from tests.faults.writers import Sent, meaning

_resolver = ConflictResolver()


@dataclass
class Account:
    """One owner's side of a run: its devices' replicas, what they sent by (device, mutation id), and direct SQL."""

    seen: Seen = field(default_factory=Seen)
    replicas: dict[str, Replica] = field(default_factory=dict)
    sent: dict[tuple[str, str], Sent] = field(default_factory=dict)
    sql: dict[str, bool] = field(default_factory=dict)
    """Markers of direct writes, and whether their commit is known to have worked."""


def audit(account: Account, truth: Truth) -> list[str]:
    """Everything that is wrong."""
    return [
        *_log(truth),
        *_deliveries(account, truth),
        *_readies(account, truth),
        *_answers(account, truth),
        *_effects(account, truth),
        *_resolutions(account, truth),
    ]


def _log(truth: Truth) -> Iterator[str]:
    """Offsets are gapless; with each row the stamps grow."""
    if [entry.offset for entry in truth.entries] != list(range(1, truth.head + 1)):
        yield f"the log's offsets are not 1 to {truth.head}, each once"
    for key, story in truth.by_key().items():
        for one, two in pairwise(story):
            if (one.updated_at, one.device_id or "") >= (two.updated_at, two.device_id or ""):
                yield f"{key}: the stamp at {two.offset} is not past that at {one.offset}"


def _deliveries(account: Account, truth: Truth) -> Iterator[str]:
    """What was shown at an offset is what was written there, by the mutation that was named."""
    wrote = {offset: mutation_id for (_, mutation_id), (offset, _) in truth.ledger.items() if offset}
    entries = {entry.offset: entry for entry in truth.entries}
    for offset, shown in account.seen.rows.items():
        if offset not in entries or entries[offset].shown() != shown:
            yield f"offset {offset} was shown as {shown}, and is {entries.get(offset)}"
        if account.seen.mutations[offset] != wrote.get(offset):
            yield f"offset {offset} was said to be of {account.seen.mutations[offset]}, not {wrote.get(offset)}"


def _readies(account: Account, truth: Truth) -> Iterator[str]:
    """Whoever was told that it holds everything up to an offset held exactly that."""
    states = {
        offset: dict(state)
        for offset, state in truth.states(list({offset for r in account.replicas.values() for offset in r.whole}))
    }
    for name, replica in account.replicas.items():
        for offset, held in replica.whole.items():
            if held != states[offset]:
                wrong = {key for key, _ in held.items() ^ states[offset].items()}
                yield f"{name} was told ready at {offset}, but {sorted(wrong)} differ"


def _answers(account: Account, truth: Truth) -> Iterator[str]:
    """Everything sent is answered, the ledger holds it once, and its answer is the one that was given."""
    for name in truth.ledger.keys() - account.sent.keys():
        yield f"{name} is in the ledger, and nobody sent it"
    for name, sent in account.sent.items():
        if sent.ack is None:
            yield f"{name} was never answered"
        elif name not in truth.ledger:
            yield f"{name} was answered {dict(sent.ack)}, and is not in the ledger"
        elif meaning(truth.ledger[name][1]) != meaning(sent.ack) or (
            sent.new and sent.new["status"] != truth.ledger[name][1]["status"]
        ):
            yield f"{name} was answered {dict(sent.ack)}, and the ledger says {truth.ledger[name]}"


def _effects(account: Account, truth: Truth) -> Iterator[str]:
    """Every accepted write is in the log at its offset and nowhere else; others are nowhere; so is direct SQL."""
    entries = {entry.offset: entry for entry in truth.entries}
    times = Counter(_last_of_each_position(truth))
    for (device, mutation_id), sent in account.sent.items():
        offset, ack = truth.ledger.get((device, mutation_id), (None, {}))
        accepted = ack.get("status") in {"applied", "merged"}
        if accepted and not _is_effect(sent, entries.get(offset or 0)):
            yield f"{mutation_id} was {ack}, and at its offset is {entries.get(offset or 0)}"
        expected = 1 if accepted and sent.mutation["op"] != "remove" else 0
        if times[mutation_id] != expected:
            yield f"{mutation_id} ({ack.get('status')}) took effect {times[mutation_id]} times, not {expected}"
    for marker, known in account.sql.items():
        if times[marker] > 1 or (known and times[marker] == 0):
            yield f"the direct write {marker} took effect {times[marker]} times"


def _last_of_each_position(truth: Truth) -> list[str]:
    return [entry.position for entry in truth.entries if entry.op == "put" and entry.position]


def _is_effect(sent: Sent, entry: Entry | None) -> bool:
    if entry is None or entry.key != sent.mutation["key"]:
        return False
    if sent.mutation["op"] == "remove":
        return entry.op == "remove"
    return entry.op == "put" and entry.position == sent.mutation["mutation_id"]


def _resolutions(account: Account, truth: Truth) -> Iterator[str]:
    """The pure resolver, given the same writes in the log's order, decides as the server did."""
    wrote = {
        offset: account.sent[name] for name, (offset, _) in truth.ledger.items() if offset and name in account.sent
    }
    devices = {sent.mutation["mutation_id"]: device for (device, _), sent in account.sent.items()}
    by_offset = {entry.offset: entry for entry in truth.entries}
    for story in truth.by_key().values():
        before: Entry | None = None
        for entry in story:
            if sent := wrote.get(entry.offset):
                decided = _resolver.resolve(_stored(before), _incoming(sent, devices))
                if not decided.accepted or decided.version.updated_at != entry.updated_at:
                    yield f"the resolver gives {decided} for {sent.mutation} after {before}, and the log has {entry}"
            before = entry
    yield from _lost(account, by_offset, devices)


def _lost(account: Account, entries: Mapping[int, Entry], devices: Mapping[str, str]) -> Iterator[str]:
    for sent in account.sent.values():
        winner = sent.ack.get("row") if sent.ack else None
        if winner is None:
            continue
        entry = entries.get(winner["offset"])
        if entry is None or entry.shown()[:4] != tuple(winner[n] for n in ("key", "op", "updated_at", "device_id")):
            yield f"{sent.mutation['mutation_id']} lost against {winner}, which is {entry}"
        elif _resolver.resolve(_stored(entry), _incoming(sent, devices)).accepted:
            yield f"{sent.mutation['mutation_id']} should have won against offset {entry.offset}"


def _stored(entry: Entry | None) -> Version | None:
    if entry is None:
        return None
    fields = {"position": entry.position} if entry.op == "put" else None
    return Version(fields, entry.updated_at, entry.device_id or "", entry.offset)


def _incoming(sent: Sent, devices: Mapping[str, str]) -> Version:
    mutation = sent.mutation
    fields = None if mutation["op"] == "remove" else {"position": mutation["mutation_id"]}
    stamp = clock.read(mutation["updated_at"])
    return Version(fields, stamp, devices[mutation["mutation_id"]], mutation.get("base"))


def differences(held: Mapping[str, tuple[object, ...]], true: Mapping[str, tuple[object, ...]]) -> Sequence[str]:
    """In which rows a device differs from the truth."""
    keys = sorted({key for key, _ in held.items() ^ true.items()})
    return [f"{key}: holds {held.get(key)}, true is {true.get(key)}" for key in keys]
