"""Reading sessions, which survive the device that they began on; what happened to them; and the readings they become.

A session is completed once. With that, in the same transaction, its reading is made and the publication's progress is
finished; from then on the session stays as it is.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from secrets import token_bytes
from typing import Annotated, Any, Literal
from uuid import uuid4

import sqlalchemy as sa
from pydantic import AfterValidator, ConfigDict, Field
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import clock, ids, reading, values
from syncserver.core.clock import Stamp
from syncserver.core.locator import Fraction, SmallLocator, storable
from syncserver.core.resolver import FieldPolicy
from syncserver.storage import reading as kept
from syncserver.storage import tables
from syncserver.storage.resource import Effects, Fields, Follow, Resource, Written

STATE_MAX_BYTES = 65_536
TITLE_MAX_CHARS = 1024
SECONDS_MAX = 1_000_000_000
_ACTIVE = frozenset({"active_seconds", "locator", "percentage", "state", "status"})

Title = Annotated[str, Field(min_length=1, max_length=TITLE_MAX_CHARS), AfterValidator(values.clean)]
Seconds = Annotated[int, Field(ge=0, le=SECONDS_MAX)]
Status = Literal["active", "paused", "completed", "abandoned"]
State = Annotated[Any, AfterValidator(storable), values.within(STATE_MAX_BYTES)]


class ReadingSession(values.Model):
    """What a client writes of a reading session. Left out, times are those of the write."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "publication_id": "moby-dick",
                    "title": "Moby-Dick",
                    "percentage": 0.25,
                    "active_seconds": 600,
                    "state": {"font": "serif", "scroll": 120},
                }
            ]
        }
    )

    publication_id: values.Key
    title: Title | None = None
    status: Status = "active"
    started_at: Stamp | None = None
    last_activity: Stamp | None = None
    completed_at: Stamp | None = None
    start_locator: SmallLocator | None = None
    start_percentage: Fraction | None = None
    locator: SmallLocator | None = None
    percentage: Fraction | None = None
    active_seconds: Seconds = 0
    state: State = None
    resumed_from: values.Id | None = None


class SessionEvent(values.Model):
    """Something that happened to a reading session. Nobody changes it; its reader may remove it."""

    session_id: values.Id
    type: Literal["created", "saved", "paused", "resumed", "moved", "conflict", "completed", "abandoned", "deleted"]
    at: Stamp
    data: Annotated[dict[str, Any], Field(default_factory=dict)]


class Reading(values.Model):
    """One finished read-through: all that its session held, and the time of all sessions that it went through."""

    publication_id: values.Key
    title: Title | None = None
    started_at: Stamp
    finished_at: Stamp
    active_seconds: Seconds
    session: dict[str, Any]


def _complete(fields: Fields, given: frozenset[str], at: datetime) -> Fields:
    """What was left out; and no session lasts longer than the clock on the wall says."""
    now = clock.write(at)
    started_at = _until(now, fields["started_at"], fresh="started_at" in given)
    last_activity = max(started_at, _until(now, fields["last_activity"], fresh="last_activity" in given))
    if "last_activity" not in given and given & _ACTIVE:
        last_activity = max(last_activity, now)
    lasted = clock.read(last_activity) - clock.read(started_at)
    return {
        **fields,
        "started_at": started_at,
        "last_activity": last_activity,
        "completed_at": (fields["completed_at"] or now) if _is_completed(fields) else None,
        "start_locator": fields["start_locator"] or fields["locator"],
        "start_percentage": fields["percentage"] if fields["start_percentage"] is None else fields["start_percentage"],
        "active_seconds": min(fields["active_seconds"], int(lasted.total_seconds())),
    }


def _until(now: str, moment: str | None, *, fresh: bool) -> str:
    """A moment, now if there is none; one that this write brings (`fresh`) is not to come."""
    return now if moment is None or (fresh and moment > now) else moment


def _is_completed(fields: Mapping[str, Any]) -> bool:
    return bool(fields["status"] == "completed")


def _inherit(former: Fields) -> Fields:
    """Where a session on another device goes on: at the place and in the state in which the former one was left."""
    taken = {name: former[name] for name in ("title", "locator", "percentage", "state")}
    return {**taken, "start_locator": former["locator"], "start_percentage": former["percentage"]}


async def _effects(connection: AsyncConnection, written: Sequence[Written]) -> Effects:
    """The times, the events, the word to a session that others went on from, the readings and what they finish."""
    await kept.spend(connection, [spent for w in written for spent in _spent(w)])
    former = [(w.owner, w.after["resumed_from"], w.key) for w in written if w.after and not w.before and _goes_on(w)]
    moved = await kept.resumed(connection, former)
    await kept.record(connection, [*_events(written), *_moved(written, moved)])
    completed = [
        w for w in written if w.after and _is_completed(w.after) and not (w.before and _is_completed(w.before))
    ]
    await kept.finish(connection, _sessions, [(w.owner, w.key) for w in completed])
    changed = [(owner, _sessions.name, key) for owner, key, _ in moved]
    return Effects(changed, [_finished(w, w.after) for w in completed if w.after])


def _goes_on(written: Written) -> bool:
    return bool(written.after and written.after["resumed_from"])


def _spent(written: Written) -> list[kept.Spent]:
    """The time lies before the write's own moment, though the session went on elsewhere meanwhile."""
    if written.after is None or written.told is None:
        return []
    moment = min(written.told["last_activity"], clock.write(written.at))
    seconds = written.after["active_seconds"]
    step = reading.step(written.before, {**written.told, "last_activity": moment, "active_seconds": seconds})
    if step is None:
        return []
    return [kept.Spent(written.owner, written.key, written.after["publication_id"], step)]


def _events(written: Sequence[Written]) -> list[kept.Event]:
    found: list[kept.Event] = []
    for one in written:
        if one.conflict_id:
            about = {"conflict_id": one.conflict_id, "policy": one.policy, "reason": one.reason}
            found.append(_event(one, one.key, "conflict", about))
        kind = reading.event(one.before, one.after)
        if kind and one.before != one.after and (one.room or kind != "saved"):
            found.append(_event(one, one.key, kind, _about(one)))
        if one.after and not one.before and one.after["status"] != "active":
            found.append(_event(one, one.key, one.after["status"], _about(one)))
    return found


def _moved(written: Sequence[Written], moved: Sequence[tuple[str, str, str]]) -> list[kept.Event]:
    by_key = {(one.owner, one.key): one for one in written}
    return [_event(by_key[owner, to], key, "moved", {"resumed_as": to}) for owner, key, to in moved]


def _about(written: Written) -> dict[str, Any]:
    """What an event remembers: how far the reader was, and where the session came from."""
    fields = written.after or written.before or {}
    about = {name: fields[name] for name in ("percentage", "active_seconds", "resumed_from")}
    return {name: value for name, value in about.items() if value is not None}


def _event(by: Written, session_id: str, kind: str, about: dict[str, Any]) -> kept.Event:
    event_id = ids.uuid7(by.at, token_bytes(ids.RANDOM_BYTES))
    return kept.Event(event_id, by.owner, session_id, kind, by.at, by.device.id, by.device.name, about)


def _finished(written: Written, session: Fields) -> Follow:
    """The publication's progress, once its session is completed."""
    reached = 1.0 if session["percentage"] is None else session["percentage"]
    place = {} if session["locator"] is None else {"locator": session["locator"]}
    fields = {"status": "finished", "percentage": reached, **place}
    return Follow(written, "progress", session["publication_id"], fields)


_sessions = Resource(
    name="reading_sessions",
    table=sa.Table(
        "reading_sessions",
        tables.metadata,
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("id", pg.UUID(as_uuid=False), primary_key=True),
        sa.Column("publication_id", sa.Text, nullable=False),
        sa.Column("title", sa.Text),
        sa.Column("status", sa.Text, nullable=False, server_default="active"),
        tables.stamp("started_at"),
        tables.stamp("last_activity"),
        tables.stamp("completed_at", nullable=True),
        sa.Column("start_locator", pg.JSONB),
        sa.Column("start_percentage", sa.Double),
        sa.Column("locator", pg.JSONB),
        sa.Column("percentage", sa.Double),
        sa.Column("active_seconds", sa.Integer, nullable=False, server_default="0"),
        sa.Column("state", pg.JSONB),
        sa.Column("resumed_from", pg.UUID(as_uuid=False)),
        sa.Column("resumed_as", pg.UUID(as_uuid=False)),
        *tables.written(),
        sa.Index("reading_sessions_owner_updated_at_idx", "owner", "updated_at"),
        sa.Index("reading_sessions_owner_publication_id_idx", "owner", "publication_id", "updated_at"),
    ),
    key="id",
    model=ReadingSession,
    rules={
        "started_at": FieldPolicy.EARLIEST,
        "last_activity": FieldPolicy.FURTHEST,
        "active_seconds": FieldPolicy.FURTHEST,
    },
    filters=("publication_id", "status"),
    conditions={"incomplete": "t.status IN ('active', 'paused') AND t.resumed_as IS NULL"},
    heavy=frozenset({"state", "start_locator", "locator"}),
    complete=_complete,
    make_key=lambda: str(uuid4()),
    strict=True,
    final=_is_completed,
    actions={
        "pause": {"status": "paused"},
        "resume": {"status": "active"},
        "abandon": {"status": "abandoned"},
        "complete": {"status": "completed"},
    },
    parent="resumed_from",
    inherit=_inherit,
    effects=_effects,
    logged=True,
)

_events_table = sa.Table(
    "session_events",
    tables.metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("id", pg.UUID(as_uuid=False), primary_key=True),
    sa.Column("session_id", pg.UUID(as_uuid=False), nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    tables.stamp("at"),
    sa.Column("data", pg.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    *tables.written(),
    sa.Index("session_events_owner_updated_at_idx", "owner", "updated_at"),
    sa.Index("session_events_owner_session_id_idx", "owner", "session_id", "updated_at"),
    sa.Index("session_events_owner_type_idx", "owner", "type", "updated_at"),
)

_readings_table = sa.Table(
    "readings",
    tables.metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("session_id", pg.UUID(as_uuid=False), primary_key=True),
    sa.Column("publication_id", sa.Text, nullable=False),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("title", sa.Text),
    tables.stamp("started_at"),
    tables.stamp("finished_at"),
    sa.Column("active_seconds", sa.Integer, nullable=False),
    sa.Column("session", pg.JSONB, nullable=False),
    *tables.written(),
    sa.Index("readings_owner_updated_at_idx", "owner", "updated_at"),
    sa.Index("readings_owner_publication_id_idx", "owner", "publication_id", "updated_at"),
)

RESOURCES = [
    _sessions,
    Resource(
        name="session_events",
        table=_events_table,
        key="id",
        model=SessionEvent,
        filters=("session_id", "type"),
        read_only=True,
        removable=True,
    ),
    Resource(
        name="readings",
        table=_readings_table,
        key="session_id",
        model=Reading,
        filters=("publication_id",),
        heavy=frozenset({"session"}),
        read_only=True,
        removable=True,
    ),
]
