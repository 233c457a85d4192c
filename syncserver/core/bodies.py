"""Every body over HTTP that is not a row's own: changes, pushes, verification, tickets, conflicts, sessions."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from syncserver.core.clock import Stamp
from syncserver.core.values import (
    MUTATIONS,
    Ack,
    CursorText,
    DeviceIdentity,
    Digests,
    Model,
    Mutation,
    Name,
    Row,
    Token,
)


class PushBody(Model):
    """POST /api/v1/push: the same mutations, ledger and answers as on the socket."""

    device: DeviceIdentity
    client_id: Name
    sent_at: Stamp | None = None
    mutations: Annotated[list[dict[str, Any]], Field(max_length=MUTATIONS)]


class PushAnswer(Model):
    """One ack for each mutation, in order, and the channel's cursor after them."""

    acks: list[Ack]
    cursor: str
    drift_s: float | None = None


class VerifyBody(Model):
    """POST /api/v1/verify: as the frame."""

    cursor: CursorText
    digests: Digests


class VerifyAnswer(Model):
    """As the `verified` frame; a mismatch is a 410 `refetch` with the reason `digest`."""

    cursor: str
    outcome: Literal["same", "moved"]


class TicketAnswer(Model):
    """POST /api/v1/tickets: stands in for the token once, within `expires_in_s`."""

    ticket: str
    expires_in_s: int


class ConflictVersion(Model):
    """One of the two versions of a conflict; `fields` is null for a removal."""

    fields: dict[str, Any] | None
    updated_at: Stamp
    device_id: str
    offset: int | None


class ConflictAnswer(Model):
    """A decision between two versions that did not know each other."""

    id: str
    resource: str
    key: str
    policy: str
    reason: str
    winner: ConflictVersion
    loser: ConflictVersion
    created_at: Stamp
    restored_at: Stamp | None = None


class ConflictsAnswer(Model):
    """A page of conflicts, newest first; `next` leads on."""

    items: list[ConflictAnswer]
    next: str | None


class SessionBody(Model):
    """What a new anonymous session is to have."""

    workspace: bool = Field(default=False, description="Nodes N001 and N002, to begin a workspace with.")


class SessionAnswer(Model):
    """POST /api/v1/sessions: a new session. `token` is its only key, and nobody can show it a second time."""

    session_id: str
    created_at: Stamp
    expires_at: Stamp
    token: str


class ValidAnswer(Model):
    """GET /api/v1/sessions/{id}/validate: the session is there."""

    session_id: str
    valid: Literal[True] = True
    created_at: Stamp
    last_accessed: Stamp
    expires_at: Stamp


class ClaimBody(Model):
    """POST /api/v1/sessions/{id}/claim: the visitor's token, which proves that the session is the reader's own."""

    token: Token


class ClaimAnswer(Model):
    """How many rows the reader has now got, and how many of them were decided between two versions.

    `cursor` is null: devices that knew the session, or the reader, go on from the cursor that they have.
    """

    session_id: str
    rows: int
    conflicts: int
    cursor: None = None


class ChangesAnswer(Model):
    """GET /api/v1/changes: rows after the cursor; ask again at once while `more`."""

    rows: list[Row]
    cursor: str
    more: bool
    server_time: Stamp


BODIES: Sequence[type[Model]] = (
    Mutation,
    PushBody,
    PushAnswer,
    ChangesAnswer,
    VerifyBody,
    VerifyAnswer,
    TicketAnswer,
    ConflictsAnswer,
    SessionAnswer,
    ValidAnswer,
    ClaimBody,
    ClaimAnswer,
)
