"""What is written: mutations, and the server's answers to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from syncserver_client.errors import Transient
from syncserver_client.ids import uuid7
from syncserver_client.model import MIRRORED, Mirrored, Row, RowId
from syncserver_client.wire import JsonObject, format_stamp, optional_stamp


@dataclass(frozen=True, slots=True)
class Mutation:
    """A write that the app proposes. `op` is "put", "patch", "remove" or an action of the resource.

    `base` is the offset at which the writer last saw the row (MIRRORED: what this client last saw; None: never
    saw one). `updated_at` None: the corrected time of the call. `key` may be `{"temp": ".."}` where the server
    makes the id. `after` names mutations that must have worked first. `fleeting`, of a patch: it need not arrive where
    the next write to the row waits too and is a patch that says all it says; it is answered as that is.
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
    fleeting: bool = False

    @property
    def row_id(self) -> RowId | None:
        """The row that it is about; None while only the server can know its key."""
        return RowId(self.resource, self.key) if isinstance(self.key, str) else None


@dataclass(frozen=True, slots=True)
class Ack:
    """The server's answer to one mutation.

    `status`: applied, merged, superseded (`row` is the winner, `conflict_id` the record of the loser), duplicate,
    or rejected (`code` and `detail` say why). A duplicate says again what the first answer said. `offset`: where the
    write stands in the owner's log. `updated_at`: the stamp that it got, where the server had to change it.
    """

    mutation_id: str
    status: str
    offset: int | None = None
    row: Row | None = None
    conflict_id: str | None = None
    code: str | None = None
    detail: str | None = None
    id_map: dict[str, Any] | None = None
    updated_at: datetime | None = None

    @property
    def refused(self) -> bool:
        """Whether the write was rejected, now or when it came first."""
        return self.status == "rejected" or (self.status == "duplicate" and self.code is not None)

    def to_wire(self) -> JsonObject:
        """The ack as JSON, such that `from_wire` gives it back."""
        return {
            "mutation_id": self.mutation_id,
            "status": self.status,
            "offset": self.offset,
            "row": self.row.to_wire() if self.row else None,
            "conflict_id": self.conflict_id,
            "code": self.code,
            "detail": self.detail,
            "id_map": self.id_map,
            "updated_at": format_stamp(self.updated_at) if self.updated_at else None,
        }

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
                updated_at=optional_stamp(frame.get("updated_at")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Transient("bad_frame", "the server sent an ack that this client cannot read") from error
