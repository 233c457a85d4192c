"""Conflicts: two writes that did not know each other, which one won, and the other one, kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from syncserver_client.errors import Transient
from syncserver_client.wire import JsonObject, optional_stamp, parse_stamp

_UNREADABLE = "the server sent a conflict that this client cannot read"


@dataclass(frozen=True, slots=True)
class ConflictNote:
    """News that a version of this device lost; `get_conflict(conflict_id)` has the versions."""

    conflict_id: str
    resource: str
    key: str
    policy: str
    reason: str
    created_at: datetime

    @classmethod
    def from_wire(cls, frame: JsonObject) -> ConflictNote:
        """The note in a decoded JSON object; Transient("bad_frame") if it is none."""
        try:
            return cls(
                conflict_id=str(frame["conflict_id"]),
                resource=str(frame["resource"]),
                key=str(frame["key"]),
                policy=str(frame["policy"]),
                reason=str(frame["reason"]),
                created_at=parse_stamp(frame["created_at"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Transient("bad_frame", _UNREADABLE) from error


@dataclass(frozen=True, slots=True)
class Version:
    """One of the two versions; `fields` None: it removed the row. `offset` where it stands, or what it was based on."""

    fields: JsonObject | None
    updated_at: datetime
    device_id: str | None
    offset: int | None

    @classmethod
    def from_wire(cls, frame: JsonObject) -> Version:
        """The version in a decoded JSON object."""
        return cls(frame.get("fields"), parse_stamp(frame["updated_at"]), frame.get("device_id"), frame.get("offset"))


@dataclass(frozen=True, slots=True)
class Conflict:
    """A conflict as the server keeps it. `restored_at`: when the loser was brought back, if it was."""

    id: str
    resource: str
    key: str
    policy: str
    reason: str
    winner: Version
    loser: Version
    created_at: datetime
    restored_at: datetime | None

    @classmethod
    def from_wire(cls, frame: JsonObject) -> Conflict:
        """The conflict in a decoded JSON object; Transient("bad_frame") if it is none."""
        try:
            return cls(
                id=str(frame["id"]),
                resource=str(frame["resource"]),
                key=str(frame["key"]),
                policy=str(frame["policy"]),
                reason=str(frame["reason"]),
                winner=Version.from_wire(frame["winner"]),
                loser=Version.from_wire(frame["loser"]),
                created_at=parse_stamp(frame["created_at"]),
                restored_at=optional_stamp(frame.get("restored_at")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Transient("bad_frame", _UNREADABLE) from error


@dataclass(frozen=True, slots=True)
class ConflictPage:
    """Some conflicts; `next` is the `after` of the page that follows, None at the end."""

    items: Sequence[Conflict]
    next: str | None
