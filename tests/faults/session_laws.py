"""What must hold of one reader's sessions however two devices wrote them: every sentence that is not true, said.

The judge is plain arithmetic over what the witness noted: which row became what, in which transaction, in which order.
Times are sets of seconds. It knows nothing of how the server resolves two writes, only what may follow from an answer.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.faults.witness import Fields, Wrote, transactions

_RULED = frozenset({"active_seconds", "last_activity", "started_at"})
_STAMPED = frozenset({"updated_at", "device_id", "device_name"})
_BY_THE_SERVER = frozenset({"status", "resumed_as", "updated_at"})
_ACTIONS = {"complete": "completed", "pause": "paused", "resume": "active", "abandon": "abandoned"}
_STAMPS = frozenset({"started_at", "finished_at", "last_activity", "completed_at", "at", "created_at", "updated_at"})


@dataclass(frozen=True, slots=True)
class Answered:
    """A mutation, by whom, and what it was answered first."""

    device: str
    mutation: Fields
    ack: Fields


def second(stamp: str) -> int:
    """A stamp in whole seconds; all that are told here are."""
    return int(datetime.fromisoformat(stamp).timestamp())


def differing(was: Fields, now: Fields) -> set[str]:
    """The columns that are not what they were."""
    return {name for name in now if was.get(name) != now[name]}


@dataclass
class Ledger:
    """The answers of one reader's devices, by what they can be looked up by."""

    answers: Sequence[Answered]
    by_offset: dict[tuple[str, int], list[Answered]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for one in self.answers:
            if "offset" in one.ack:
                self.by_offset.setdefault((one.mutation["key"], one.ack["offset"]), []).append(one)


@dataclass
class Replay:
    """The reader's rows, followed from write to write. `wrong`: what was found."""

    ledger: Ledger
    wrong: list[str] = field(default_factory=list)
    sessions: dict[str, Fields] = field(default_factory=dict)
    states: dict[tuple[str, int], Fields | None] = field(default_factory=dict)
    readings: dict[str, Fields] = field(default_factory=dict)
    progress: dict[str, Fields] = field(default_factory=dict)
    seconds: dict[str, set[int]] = field(default_factory=dict)
    told: Counter[tuple[str, str]] = field(default_factory=Counter)
    due: Counter[tuple[str, str]] = field(default_factory=Counter)
    more: Counter[str] = field(default_factory=Counter)
    first: dict[str, Fields] = field(default_factory=dict)
    left: dict[str, set[str]] = field(default_factory=dict)

    def follow(self, wrote: Sequence[Wrote]) -> None:
        """Follow these writes, and see at each commit that all that belongs together is there."""
        for part in transactions(list(wrote)):
            for one in part:
                {
                    "reading_sessions": self._session,
                    "a tombstone": self._tombstone,
                    "session_events": self._event,
                    "readings": self._reading,
                    "progress": self._progress,
                    "times": self._times,
                }[one.name](one)
            self._committed()

    def _session(self, one: Wrote) -> None:
        was, now = one.was, one.now
        if was != self.sessions.get(one.key):
            self.wrong.append(f"session {one.key} was not what it had become")
        if was and now and was["status"] == "completed":
            self.wrong.append(f"a completed session was changed: {differing(was, now)}")
        if now:
            self.states[one.key, one.offset or 0] = now
        for kind in self._kinds(one):
            self.due[one.key, kind] += 1
        if now is None:
            del self.sessions[one.key]
            self.left.pop(one.key, None)
            return
        former = self.sessions.get(now["resumed_from"] or "")
        if was is None and former and former["status"] != "completed":
            self.left.setdefault(former["id"], set()).add(one.key)
        self._spend(one.key, was, now)
        if now["status"] == "completed":
            self.left.pop(one.key, None)
            self.first.setdefault(one.key, now)
        self.sessions[one.key] = now

    def _kinds(self, one: Wrote) -> Iterator[str]:
        """The events that belong to this write."""
        was, now = one.was, one.now
        if now is None:
            yield "deleted"
        elif was is None:
            yield "resumed" if now["resumed_from"] else "created"
            if now["status"] != "active":
                yield now["status"]
        elif self._by_the_server(one, was, now):
            yield "moved"
        elif was["status"] != now["status"]:
            yield "resumed" if now["status"] == "active" else now["status"]
        elif differing(was, now) - _STAMPED:
            yield "saved"

    def _by_the_server(self, one: Wrote, was: Fields, now: Fields) -> bool:
        """Whether no device wrote this: another session goes on from the row."""
        if (one.key, one.offset) in self.ledger.by_offset or now["resumed_as"] is None:
            return False
        if not {"updated_at"} <= differing(was, now) <= _BY_THE_SERVER:
            return False
        if now["status"] != ("paused" if was["status"] == "active" else was["status"]):
            self.wrong.append(f"a session that others went on from is {now['status']} and was {was['status']}")
        return True

    def _spend(self, key: str, was: Fields | None, now: Fields) -> None:
        """Each save that adds n seconds brings n seconds at most, some of which may be known already."""
        self.more[key] += max(0, now["active_seconds"] - (was["active_seconds"] if was else 0))
        if now["active_seconds"] > second(now["last_activity"]) - second(now["started_at"]):
            self.wrong.append(f"session {key} is longer than the clock on the wall says")

    def _times(self, one: Wrote) -> None:
        spent = self.seconds.setdefault(one.key, set())
        told, known = _seconds(one.now), _seconds(one.was)
        if one.now is None or not known <= told:
            self.wrong.append("times of reading were lost")
        self.more[one.key] -= len(told - spent)
        spent |= told

    def _tombstone(self, one: Wrote) -> None:
        self.states[one.key, one.offset or 0] = None

    def _event(self, one: Wrote) -> None:
        if one.was or one.now is None:
            self.wrong.append("an event was changed or removed")
        else:
            self.told[one.now["session_id"], one.now["type"]] += 1

    def _progress(self, one: Wrote) -> None:
        self.progress[one.key] = one.now or {}

    def _reading(self, one: Wrote) -> None:
        session = self.sessions.get(one.key)
        if one.was or one.now is None or one.key in self.readings:
            self.wrong.append(f"the reading of {one.key} was made twice, changed or removed")
            return
        self.readings[one.key] = one.now
        if session is None or session["status"] != "completed":
            self.wrong.append(f"a reading of {one.key}, which is not completed")
            return
        self.wrong += [f"reading of {one.key}: {sentence}" for sentence in self._unlike(one.now, session)]

    def _unlike(self, reading: Fields, session: Fields) -> Iterator[str]:
        if session != self.first[session["id"]]:
            yield "it is not of the first completion"
        chain = self._chain(session)
        spent = set[int]().union(*(self.seconds.get(key, ()) for key in chain))
        if reading["active_seconds"] != len(spent):
            yield f"{reading['active_seconds']} s, and its sessions took {len(spent)}"
        if second(reading["started_at"]) != min(second(self.sessions[key]["started_at"]) for key in chain):
            yield "it did not start with the first of its sessions"
        if (reading["finished_at"], reading["publication_id"], reading["title"]) != (
            session["completed_at"],
            session["publication_id"],
            session["title"],
        ):
            yield "it is not of that session"
        if plain(reading["session"]) != plain(session):
            yield f"it does not hold what the session held: {reading['session']} and {session}"

    def _chain(self, session: Fields) -> list[str]:
        """The session and those that it went on from, as long as they are not readings of their own."""
        found = [session["id"]]
        while True:
            former = self.sessions.get(session["resumed_from"] or "")
            if former is None or former["status"] == "completed" or former["id"] in found:
                return found
            if former["publication_id"] != session["publication_id"]:
                return found
            found.append(former["id"])
            session = former

    def _committed(self) -> None:
        """Nothing half-made can be seen between two commits."""
        moments = set(self.told - self.due) | set(self.due - self.told)
        if wrong := {kind for _, kind in moments} - {"conflict"}:
            self.wrong.append(f"events too many or too few: {sorted(wrong)}")
        for key, others in self.left.items():
            if key in self.sessions and self.sessions[key]["resumed_as"] not in others:
                self.wrong.append(f"session {key} was left for another and does not know it")
        self.left.clear()
        for key, left in self.more.items():
            if left < 0 or (left > 0 and not self.seconds.get(key)):
                self.wrong.append(f"session {key} counts {left} seconds more than were read in it")
        for key, session in self.first.items():
            if key not in self.readings:
                self.wrong.append(f"session {key} is completed and has no reading")
            if self.progress.get(session["publication_id"], {}).get("status") != "finished":
                self.wrong.append(f"session {key} is completed and its publication is not finished")


def _seconds(times: Fields | None) -> set[int]:
    """A quarter of an hour's times, such as {["2026-03-01 11:00:00+00","2026-03-01 11:10:00+00")}, as seconds."""
    stamps = re.findall(r'"([^"]+)"', times["active"]) if times else []
    pairs = zip(stamps[::2], stamps[1::2], strict=True)
    return {moment for start, end in pairs for moment in range(second(start), second(end))}


def plain(row: Fields) -> Fields:
    """A row without its owner, with stamps that can be compared, whoever wrote them."""
    return {
        name: datetime.fromisoformat(value) if name in _STAMPS and value else value
        for name, value in row.items()
        if name != "owner"
    }


def answers(replay: Replay, conflicts: Counter[str]) -> Iterator[str]:
    """What is wrong between what devices were told and what was done. `conflicts`: recorded, by key."""
    named: Counter[str] = Counter()
    for one in replay.ledger.answers:
        yield from _one(one, replay)
        named[one.mutation["key"]] += "conflict_id" in one.ack
    told = Counter({key: number for (key, kind), number in replay.told.items() if kind == "conflict"})
    if not +named == conflicts == told:
        yield f"{named.total()} conflicts were answered, {conflicts.total()} kept, {told.total()} told as events"
    yield from _unanswered(replay)


def _one(one: Answered, replay: Replay) -> Iterator[str]:
    key, ack = one.mutation["key"], one.ack
    if "offset" in ack:
        place = (key, ack["offset"])
        if place not in replay.states:
            yield f"an answer names a write that never was: {ack}"
        elif unlike := _unlike(one, replay.states[place]):
            yield f"{one.mutation['op']} was answered {ack['status']}, and the row has another {unlike}"
    elif "row" in ack:
        row = ack["row"]
        state = replay.states.get((key, row["offset"]), {})
        if (row["data"] and row["data"]["status"]) != (state and state.get("status")):
            yield f"the row in an answer never was: {row}"
    elif ack.get("code") not in {"not_found", "removed"}:
        yield f"rejected: {ack} {one.mutation}"


def _unlike(one: Answered, state: Fields | None) -> list[str]:
    """Where the row is not what the mutation asked for."""
    op, asked = one.mutation["op"], dict(one.mutation["data"] or {})
    if op == "remove" or state is None:
        return [] if op == "remove" and state is None else ["fate"]
    if op in _ACTIONS:
        asked["status"] = _ACTIONS[op]
    if state["device_id"] != one.device:
        return ["device"]
    return [name for name, value in asked.items() if name not in _RULED and not _holds(state[name], value)]


def _holds(state: Any, asked: Any) -> bool:
    return state.items() >= asked.items() if isinstance(asked, dict) else bool(state == asked)


def _unanswered(replay: Replay) -> Iterator[str]:
    """Every state of a session was answered to somebody, or came of a loser's seconds, or of a session that goes on."""
    before: dict[str, Fields | None] = {}
    for (key, offset), now in replay.states.items():
        was, before[key] = before.get(key), now
        if now is None or (key, offset) in replay.ledger.by_offset:
            continue
        changed = differing(was, now) if was else {"fate"}
        if not (changed <= _RULED or changed <= _BY_THE_SERVER):
            yield f"a write of {sorted(changed)} that nobody was told of"
    removed = Counter(one.mutation["key"] for one in replay.ledger.answers if _removed(one))
    for (key, kind), number in replay.told.items():
        if kind == "deleted" and removed[key] < number:
            yield f"deleted {number} times, and {removed[key]} removals were answered"


def _removed(one: Answered) -> bool:
    return one.mutation["op"] == "remove" and "offset" in one.ack
