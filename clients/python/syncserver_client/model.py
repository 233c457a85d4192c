"""The values that travel between server, client and app: rows, changes, mutations and acks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any, Final, Literal, NamedTuple, cast

from syncserver_client.errors import Transient
from syncserver_client.ids import uuid7
from syncserver_client.wire import JsonObject, parse_stamp

Op = Literal["put", "remove"]


class State(StrEnum):
    """How the client hears of changes at this moment."""

    CONNECTING = "connecting"  # on its way to a socket; nothing has failed twice yet
    LIVE = "live"  # caught up, and pushed to as things happen
    POLLING = "polling"  # sockets do not work here; asks every few seconds
    OFFLINE = "offline"  # nothing works; keeps trying


class Mirrored(Enum):
    """The type of `MIRRORED`, apart from None because None is a `base` of its own."""

    MIRRORED = "mirrored"


MIRRORED: Final = Mirrored.MIRRORED  # "base: whatever this client last saw of the row"


class RowId(NamedTuple):
    """A row's name within its owner."""

    resource: str
    key: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row as the server has it: `value` is None where `op` is "remove"."""

    resource: str
    key: str
    op: Op
    value: JsonObject | None
    offset: int
    updated_at: datetime
    device_id: str | None
    mutation_id: str | None = None

    @property
    def id(self) -> RowId:
        """(resource, key)."""
        return RowId(self.resource, self.key)

    @classmethod
    def from_wire(cls, frame: JsonObject) -> Row:
        """The row in a decoded JSON object; Transient("bad_frame") if it is none."""
        try:
            return cls(
                resource=str(frame["resource"]),
                key=str(frame["key"]),
                op=_op(frame["op"]),
                value=frame.get("data"),
                offset=int(frame["offset"]),
                updated_at=parse_stamp(frame["updated_at"]),
                device_id=frame.get("device_id"),
                mutation_id=frame.get("mutation_id"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Transient("bad_frame", "the server sent a row that this client cannot read") from error

    @classmethod
    def from_rest(cls, resource: str, key: str, body: JsonObject) -> Row:
        """The row that a GET of it answered: its value, with the offset among the fields; else as `from_wire`."""
        value = {name: member for name, member in body.items() if name != "offset"}
        about = {name: body.get(name) for name in ("offset", "updated_at", "device_id")}
        return cls.from_wire({**about, "resource": resource, "key": key, "op": "put", "data": value})


def _op(text: str) -> Op:
    if text not in ("put", "remove"):
        raise ValueError("no such op")
    return cast("Op", text)


@dataclass(frozen=True, slots=True)
class Change:
    """News of one row. `received_at` is server time by this client's corrected clock.

    A row that is found missing after a refetch comes as a "remove" with the offset and stamp at which it was
    last seen: when and by whom it was removed is no longer known.
    """

    resource: str
    key: str
    op: Op
    value: JsonObject | None
    offset: int
    updated_at: datetime
    device_id: str | None
    mutation_id: str | None
    received_at: datetime

    @property
    def id(self) -> RowId:
        """(resource, key)."""
        return RowId(self.resource, self.key)

    @classmethod
    def of(cls, row: Row, received_at: datetime) -> Change:
        """The news that `row` is now what the server has."""
        return cls(
            row.resource,
            row.key,
            row.op,
            row.value,
            row.offset,
            row.updated_at,
            row.device_id,
            row.mutation_id,
            received_at,
        )

    @classmethod
    def gone(cls, row: Row, received_at: datetime) -> Change:
        """The news that `row`, once shown, is no longer there."""
        return cls(row.resource, row.key, "remove", None, row.offset, row.updated_at, row.device_id, None, received_at)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A write that the app proposes. `op` is "put", "patch", "remove" or an action of the resource.

    `base` is the offset at which the writer last saw the row (MIRRORED: what this client last saw; None: never
    saw one). `updated_at` None: the corrected time of the call. `key` may be `{"temp": ".."}` where the server
    makes the id. `after` names mutations that must have worked first.
    """

    op: str
    resource: str
    key: str | dict[str, str]
    value: JsonObject | None = None
    base: int | Mirrored | None = MIRRORED
    updated_at: datetime | None = None
    policy: str | None = None
    after: tuple[str, ...] = ()
    mutation_id: str = field(default_factory=uuid7)


@dataclass(frozen=True, slots=True)
class Ack:
    """The server's answer to one mutation.

    `status`: applied, merged, superseded (`row` is the winner, `conflict_id` the record of the loser), duplicate,
    or rejected (`code` and `detail` say why). `offset`: where the write stands in the owner's log.
    """

    mutation_id: str
    status: str
    offset: int | None = None
    row: Row | None = None
    conflict_id: str | None = None
    code: str | None = None
    detail: str | None = None
    id_map: dict[str, Any] | None = None

    @classmethod
    def from_wire(cls, frame: JsonObject) -> Ack:
        """The ack in a decoded JSON object; Transient("bad_frame") if it is none."""
        try:
            row = frame.get("row")
            return cls(
                mutation_id=str(frame["mutation_id"]),
                status=str(frame["status"]),
                offset=frame.get("offset"),
                row=Row.from_wire(row) if row else None,
                conflict_id=frame.get("conflict_id"),
                code=frame.get("code"),
                detail=frame.get("detail"),
                id_map=frame.get("id_map"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise Transient("bad_frame", "the server sent an ack that this client cannot read") from error
