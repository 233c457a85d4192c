"""Every frame on the socket, once: pydantic models for what comes in and for the documents made from them.

What goes out often is encoded by hand in `encode` (a row's JSON passes through untouched); tests hold both against
the models, and the schema's hash is pinned to PROTOCOL.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from syncserver.core import bodies
from syncserver.core.clock import Stamp
from syncserver.core.values import (
    BROADCAST_BYTES,
    FRAME_BYTES,
    MUTATIONS,
    STATE_BYTES,
    Ack,
    CursorText,
    DeviceIdentity,
    Digests,
    Here,
    Model,
    Name,
    Row,
    Ticket,
    Token,
    within,
)

PROTOCOL = 1
SUBPROTOCOL = "syncserver.v1"

# -- client -> server --------------------------------------------------------


class Hello(Model):
    """The first frame, within 10 s: who (token or ticket; neither with a cookie), on which device, which versions."""

    type: Literal["hello"] = "hello"
    token: Token | None = None
    ticket: Ticket | None = None
    device: DeviceIdentity
    client_id: Name
    sent_at: Stamp
    protocol: Annotated[list[int], Field(min_length=2, max_length=2)]

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.token is not None and self.ticket is not None:
            raise ValueError("either a token or a ticket")
        return self


class Subscribe(Model):
    """Everything of these resources (null: all) after the cursor (null: from nothing), then live."""

    type: Literal["subscribe"] = "subscribe"
    resources: Annotated[list[Name], Field(max_length=64)] | None = None
    cursor: CursorText | None = None


class Unsubscribe(Model):
    """No more changes on this connection."""

    type: Literal["unsubscribe"] = "unsubscribe"


class Push(Model):
    """At most 500 mutations; each is judged on its own, so each is read on its own (see Mutation)."""

    type: Literal["push"] = "push"
    mutations: Annotated[list[dict[str, Any]], Field(max_length=MUTATIONS)]


class Ping(Model):
    """Are you there, and what time is it?"""

    type: Literal["ping"] = "ping"
    sent_at: Stamp | None = None


class Auth(Model):
    """A fresh token of the same reader for this connection; silence means that it is good."""

    type: Literal["auth"] = "auth"
    token: Token


class Verify(Model):
    """Do I hold what you hold? Digests of what this client has at `cursor`."""

    type: Literal["verify"] = "verify"
    cursor: CursorText
    digests: Digests


class Presence(Model):
    """I am here, doing this; from now on tell me who else is. Ephemeral."""

    type: Literal["presence"] = "presence"
    state: Annotated[dict[str, Any] | None, within(STATE_BYTES)] = None


class Broadcast(Model):
    """For this reader's other devices that are connected now. Ephemeral."""

    type: Literal["broadcast"] = "broadcast"
    topic: Name
    data: Annotated[Any, within(BROADCAST_BYTES)] = None


# -- server -> client --------------------------------------------------------


class Limits(Model):
    """What a client may send in one frame."""

    frame_bytes: int = FRAME_BYTES
    mutations: int = MUTATIONS


class Welcome(Model):
    """The hello was good. `echo` is its `sent_at`, so that the client learns its clock's offset.

    `drift_s`: how far the device's clock is ahead, where that is more than five minutes either way.
    """

    type: Literal["welcome"] = "welcome"
    connection: str
    server_time: Stamp
    echo: Stamp
    heartbeat_s: float
    token_expires_at: Stamp | None = None
    limits: Limits = Limits()
    epoch: str
    drift_s: float | None = None


class Changes(Model):
    """Rows between two cursors. `from` equals the receiver's cursor, or it has a gap."""

    type: Literal["changes"] = "changes"
    from_: Annotated[str, Field(alias="from")]
    to: str
    rows: list[Row]
    more: bool


class Ready(Model):
    """You hold everything up to here."""

    type: Literal["ready"] = "ready"
    cursor: str
    server_time: Stamp


class Acks(Model):
    """One answer for each mutation of a push, in its order."""

    type: Literal["ack"] = "ack"
    acks: list[Ack]


class RefetchFrame(Model):
    """Drop local rows and subscribe with a null cursor."""

    type: Literal["refetch"] = "refetch"
    reason: str


class ErrorFrame(Model):
    """What was wrong with a frame; the connection closes after it if its code says so."""

    type: Literal["error"] = "error"
    code: str
    detail: str
    retry_after_s: float | None = None


class Goodbye(Model):
    """The server closes; come back after `retry_after_s`."""

    type: Literal["goodbye"] = "goodbye"
    code: int
    retry_after_s: float


class Pong(Model):
    """Here, and this is the time."""

    type: Literal["pong"] = "pong"
    sent_at: Stamp | None = None
    server_time: Stamp


class TokenExpiring(Model):
    """The token ends in `in_s`: send a fresh one with `auth`, or be closed with 4001."""

    type: Literal["token_expiring"] = "token_expiring"
    in_s: float


class Verified(Model):
    """The answer to `verify`: the same, or moved (the cursor is not the head any more; ask again when ready)."""

    type: Literal["verified"] = "verified"
    cursor: str
    outcome: Literal["same", "moved"]


class PresenceFrame(Model):
    """Everybody else who is here, each time that changes."""

    type: Literal["presence"] = "presence"
    devices: list[Here]


class BroadcastFrame(Model):
    """What another device of this reader sent to all."""

    type: Literal["broadcast"] = "broadcast"
    topic: str
    data: Any = None
    connection: str
    device_id: str
    sent_at: Stamp


class ConflictNote(Model):
    """A version that this device wrote lost against another: GET /api/v1/conflicts/{conflict_id} has both."""

    type: Literal["conflict"] = "conflict"
    conflict_id: str
    resource: str
    key: str
    policy: str
    reason: str
    created_at: Stamp


CLIENT_FRAMES: Sequence[type[Model]] = (Hello, Subscribe, Unsubscribe, Push, Ping, Auth, Verify, Presence, Broadcast)
SERVER_FRAMES: Sequence[type[Model]] = (
    Welcome,
    Changes,
    Ready,
    Acks,
    RefetchFrame,
    ErrorFrame,
    Goodbye,
    Pong,
    TokenExpiring,
    Verified,
    PresenceFrame,
    BroadcastFrame,
    ConflictNote,
)
ClientFrame = Hello | Subscribe | Unsubscribe | Push | Ping | Auth | Verify | Presence | Broadcast


def schema() -> dict[str, Any]:
    """The JSON Schema of every frame and body, by name."""
    return {model.__name__: model.model_json_schema() for model in (*CLIENT_FRAMES, *SERVER_FRAMES, *bodies.BODIES)}
