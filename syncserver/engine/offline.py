"""What a device read while it was away, as mutations: the same session told again is the same mutations again.

The row is made as it was at the end of the first interval; each further one raises its times, so that every interval is
counted where it lies; the last write brings it to its present state.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5

import orjson
from pydantic import ValidationError

from syncserver.core import clock, protocol, spans
from syncserver.core.errors import Invalid
from syncserver.core.reading_bodies import OfflineSession
from syncserver.core.resolver import Policy
from syncserver.core.spans import Span
from syncserver.core.values import Temporary
from syncserver.engine.decide import Ack

Raw = dict[str, Any]
_NAMESPACE = UUID("6f0d2f5e-9b0b-5a52-8f0c-6d1d5b0a7c11")
_ACTIONS = {"paused": "pause", "completed": "complete", "abandoned": "abandon"}
_INHERITED = frozenset({"title", "locator", "percentage", "state", "start_locator", "start_percentage"})
_NOT_FIELDS = frozenset({"device_id", "device_name", "mutation_id", "completed_at"})


@dataclass(frozen=True, slots=True)
class Plan:
    """The mutations of one session in order. `first` makes its row, `rest` goes on from that; `read`: when it was read.

    `after`: the temporary name of the session that it goes on from.
    """

    temp_id: str | None
    id: str | None
    read: Sequence[Span]
    first: Raw
    rest: Sequence[Raw]
    after: str | None = None


@dataclass(frozen=True, slots=True)
class _Moment:
    """How far the times of the session are at the end of an interval; `at` is None where no time is known."""

    at: datetime | None
    seconds: int

    def fields(self) -> Raw:
        last = {} if self.at is None else {"last_activity": clock.write(self.at)}
        return {**last, "active_seconds": self.seconds}


def plan(raw: Mapping[str, Any], client_id: str) -> Plan:
    """A session of a batch as its mutations; raises Invalid or TooLarge for what is none."""
    session = _session(raw)
    read = spans.union(session.intervals)
    moments = list(_moments(session, read))
    content = _content(session, moments[0])
    writes = _writes(session, moments, content)
    base = {} if session.base is None else {"base": session.base}
    policy = {} if session.policy is None else {"policy": session.policy}
    name = f"{client_id}\0{session.temp_id or ''}\0{session.id or ''}\0{_digest(raw)}"
    key = session.id or {"temp": session.temp_id}
    first, *rest = (
        {"mutation_id": str(uuid5(_NAMESPACE, f"{name}\0{index}")), "resource": "reading_sessions", "key": key}
        | policy
        | write
        for index, write in enumerate(writes)
    )
    after = session.resumed_from.temp if isinstance(session.resumed_from, Temporary) else None
    return Plan(session.temp_id, session.id, read or _told(moments[-1]), first | base, rest, after)


def _session(raw: Mapping[str, Any]) -> OfflineSession:
    try:
        session = OfflineSession.model_validate(raw)
    except ValidationError as error:
        raise protocol.invalid(error) from None
    if (session.temp_id is None) is (session.id is None):
        raise Invalid("/id: one of id and temp_id", [{"pointer": "/id", "detail": "one of id and temp_id"}])
    return session


def _digest(raw: Mapping[str, Any]) -> str:
    return sha256(orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _moments(session: OfflineSession, read: Sequence[Span]) -> Iterator[_Moment]:
    """The times at the end of each interval, or the one that the session itself tells."""
    if not read:
        yield _Moment(session.last_activity, session.active_seconds or 0)
        return
    # what of the whole session's time lies before these intervals
    passed = max(0, (session.active_seconds or 0) - spans.seconds(read))
    for span in read:
        passed += spans.seconds([span])
        yield _Moment(span[1], passed)


def _told(moment: _Moment) -> list[Span]:
    """When a session was read that tells no intervals: just before its last activity, as any save has it."""
    return [] if moment.at is None else spans.union([(_before(moment.at, moment.seconds), moment.at)])


def _before(moment: datetime, seconds: int) -> datetime:
    return max(moment - timedelta(seconds=seconds), clock.read("0001-01-02T00:00:00Z"))


def _content(session: OfflineSession, first: _Moment) -> Raw:
    """The session's own fields, but for its status and those that every interval changes."""
    fields = {name: value for name, value in (session.model_extra or {}).items() if name not in _NOT_FIELDS}
    if fields.get("started_at") is None and first.at is not None:
        fields["started_at"] = clock.write(_before(first.at, first.seconds))
    match session.resumed_from:
        case Temporary(temp=name):
            fields["resumed_from"] = {"$temp": name}
        case str(key):
            fields["resumed_from"] = key
    return fields


def _writes(session: OfflineSession, moments: Sequence[_Moment], content: Raw) -> list[Raw]:
    """Ops, data and stamps, in order."""
    last = moments[-1]
    stamp = max((known for known in (session.updated_at, last.at) if known is not None), default=None)
    if len(moments) == 1:
        return [_write("put", content | last.fields() | _status(session), stamp)]
    first, *between = moments[:-1]
    return [
        _write("put", content | first.fields() | {"status": "active"}, first.at),
        *(_write("patch", moment.fields(), moment.at) for moment in between),
        _final(session, content | last.fields(), stamp),
    ]


def _final(session: OfflineSession, fields: Raw, stamp: datetime | None) -> Raw:
    """The write that leaves the session as it is: whole, unless it took something from the one that it goes on from."""
    if "resumed_from" not in fields or fields.keys() >= _INHERITED:
        return _write("put", fields | _status(session), stamp)
    changed = {name: value for name, value in fields.items() if name != "resumed_from"}
    completed = {name: value for name, value in _status(session).items() if name != "status"}
    return _write(_ACTIONS.get(session.status, "patch"), changed | completed, stamp)


def _status(session: OfflineSession) -> Raw:
    completed_at = (session.model_extra or {}).get("completed_at")
    return {"status": session.status} | ({} if completed_at is None else {"completed_at": completed_at})


def _write(op: str, data: Raw, stamp: datetime | None) -> Raw:
    return {"op": op, "data": data} | ({} if stamp is None else {"updated_at": clock.write(stamp)})


def following(planned: Plan, first: Ack) -> list[Raw]:
    """The rest, now that the first is answered: none of it older than what that became, or it would lose to it."""
    if "row" in first:
        return list(planned.rest)
    stood = clock.read(first.get("updated_at") or planned.first["updated_at"]) if planned.rest else None
    return [_past(mutation, stood + index * clock.TICK) for index, mutation in enumerate(planned.rest, 1) if stood]


def _past(mutation: Raw, stamp: datetime) -> Raw:
    later = {**mutation, "updated_at": clock.write(max(stamp, clock.read(mutation["updated_at"])))}
    if later.get("policy") is Policy.SERVER_WINS:
        del later["policy"]  # what is stored now is this session's own beginning
    return later
