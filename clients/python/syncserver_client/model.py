"""What is read: rows, the news of them, and how the client hears of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import Final, Literal, NamedTuple, cast

from syncserver_client.errors import Transient
from syncserver_client.wire import JsonObject, format_stamp, optional_stamp, parse_stamp

Op = Literal["put", "remove"]


class State(StrEnum):
    """How the client hears of changes at this moment."""

    CONNECTING = "connecting"  # on its way to a socket; nothing has failed twice yet
    LIVE = "live"  # caught up, and pushed to as things happen, over a socket
    STREAMING = "streaming"  # sockets do not work here; server-sent events bring the changes as they happen
    LONG_POLLING = "long-polling"  # nor do streams; each question waits at the server for its answer
    POLLING = "polling"  # nor does waiting; asks every few seconds
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
    """One row as the server has it: `value` is None where `op` is "remove".

    `pending`: shown ahead of the server's log, because of a write of this client; `offset` is then that of the
    server's row below it, 0 if there is none. `claimed_at`: the stamp as its device gave it, where the server had
    to change it.
    """

    resource: str
    key: str
    op: Op
    value: JsonObject | None
    offset: int
    updated_at: datetime
    device_id: str | None
    mutation_id: str | None = None
    claimed_at: datetime | None = None
    pending: bool = False

    @property
    def id(self) -> RowId:
        """(resource, key)."""
        return RowId(self.resource, self.key)

    def to_wire(self) -> JsonObject:
        """The row as JSON, such that `from_wire` gives it back."""
        return {
            "resource": self.resource,
            "key": self.key,
            "op": self.op,
            "data": self.value,
            "offset": self.offset,
            "updated_at": format_stamp(self.updated_at),
            "device_id": self.device_id,
            "mutation_id": self.mutation_id,
            "claimed_at": format_stamp(self.claimed_at) if self.claimed_at else None,
        }

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
                claimed_at=optional_stamp(frame.get("claimed_at")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Transient("bad_frame", "the server sent a row that this client cannot read") from error

    @classmethod
    def from_rest(cls, resource: str, key: str, body: JsonObject) -> Row:
        """The row that a GET of it answered: its value, with the offset among the fields; else as `from_wire`."""
        value = {name: member for name, member in body.items() if name != "offset"}
        about = {name: body.get(name) for name in ("offset", "updated_at", "device_id", "claimed_at")}
        return cls.from_wire({**about, "resource": resource, "key": key, "op": "put", "data": value})


def _op(text: str) -> Op:
    if text not in ("put", "remove"):
        raise ValueError("no such op")
    return cast("Op", text)


@dataclass(frozen=True, slots=True)
class Change:
    """News of one row. `received_at` is server time by this client's corrected clock.

    `pending`: of a write of this client that the server's log has not shown yet (see `Row`). The others come in the
    order of their offsets, each once, but for rows with a pending write: what was hidden below it comes when it is
    answered, and when it is refused the server's state comes again.

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
    pending: bool = False

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
            row.pending,
        )

    @classmethod
    def gone(cls, row: Row, received_at: datetime) -> Change:
        """The news that `row`, once shown, is no longer there."""
        return cls(
            row.resource,
            row.key,
            "remove",
            None,
            row.offset,
            row.updated_at,
            row.device_id,
            None,
            received_at,
            row.pending,
        )
