"""Every frame and body on the wire, once: pydantic models for what comes in and for the documents made from them.

What goes out often is encoded by hand in `encode` (a row's JSON passes through untouched); tests hold both against
the models, and the schema's hash is pinned to PROTOCOL.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from syncserver.core.clock import Stamp
from syncserver.core.resolver import Policy

PROTOCOL = 1
SUBPROTOCOL = "syncserver.v1"
FRAME_BYTES = 1_048_576
MUTATIONS = 500
KEY_MAX_CHARS = 512


def clean(text: str) -> str:
    """Text that PostgreSQL can hold and a terminal can show: no control characters (NUL above all)."""
    if any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F for c in text):  # noqa: PLR2004 - C0 and C1 of Unicode
        raise ValueError("control characters are not allowed")
    return text


Name = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(clean)]
Key = Annotated[str, Field(min_length=1, max_length=KEY_MAX_CHARS), AfterValidator(clean)]
_UUID = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
Id = Annotated[str, Field(pattern=_UUID), AfterValidator(str.lower)]
Status = Literal["applied", "merged", "superseded", "duplicate", "rejected", "deferred"]


class Model(BaseModel):
    """Types are exact (no "1" for 1); unknown fields are ignored, as PROTOCOL.md says."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


# -- values ------------------------------------------------------------------


class Row(Model):
    """A row as it is at `offset`; `data` is null for a removal."""

    resource: str
    key: str
    offset: int
    op: Literal["put", "remove"]
    device_id: str | None = None
    updated_at: Stamp
    data: dict[str, Any] | None = None
    mutation_id: str | None = None


class Mutation(Model):
    """A client's proposed write. `base`: the offset at which it last saw the row, null if it never did."""

    mutation_id: Id
    resource: Name
    key: Key
    op: Literal["put", "patch", "remove"]
    data: dict[str, Any] | None = None
    base: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    updated_at: Stamp | None = None
    policy: Policy | None = Field(default=None, strict=False)


class Ack(Model):
    """The answer to one mutation. `row` and `conflict_id` come with superseded, `code` and `detail` with rejected."""

    mutation_id: str | None
    status: Status
    offset: int | None = None
    row: Row | None = None
    conflict_id: str | None = None
    code: str | None = None
    detail: str | None = None


class DeviceIdentity(Model):
    """One installation: a random id that it keeps, and names for people."""

    id: Name
    name: Name | None = None
    app: Name | None = None


# -- client -> server --------------------------------------------------------


class Hello(Model):
    """The first frame, within 10 s: who, on which device, speaking which versions."""

    type: Literal["hello"] = "hello"
    token: Annotated[str, Field(max_length=16_384)]
    device: DeviceIdentity
    client_id: Name
    sent_at: Stamp
    protocol: Annotated[list[int], Field(min_length=2, max_length=2)]


class Subscribe(Model):
    """Everything of these resources (null: all) after the cursor (null: from nothing), then live."""

    type: Literal["subscribe"] = "subscribe"
    resources: Annotated[list[Name], Field(max_length=64)] | None = None
    cursor: Annotated[str, Field(max_length=128)] | None = None


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


# -- server -> client --------------------------------------------------------


class Limits(Model):
    """What a client may send in one frame."""

    frame_bytes: int = FRAME_BYTES
    mutations: int = MUTATIONS


class Welcome(Model):
    """The hello was good. `echo` is its `sent_at`, so that the client learns its clock's offset."""

    type: Literal["welcome"] = "welcome"
    connection: str
    server_time: Stamp
    echo: Stamp
    heartbeat_s: float
    token_expires_at: Stamp | None = None
    limits: Limits = Limits()
    epoch: str


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


# -- HTTP --------------------------------------------------------------------


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


class ChangesAnswer(Model):
    """GET /api/v1/changes: rows after the cursor; ask again at once while `more`."""

    rows: list[Row]
    cursor: str
    more: bool
    server_time: Stamp


CLIENT_FRAMES: Sequence[type[Model]] = (Hello, Subscribe, Unsubscribe, Push, Ping)
SERVER_FRAMES: Sequence[type[Model]] = (Welcome, Changes, Ready, Acks, RefetchFrame, ErrorFrame, Goodbye, Pong)
BODIES: Sequence[type[Model]] = (Mutation, PushBody, PushAnswer, ChangesAnswer)
ClientFrame = Hello | Subscribe | Unsubscribe | Push | Ping


def schema() -> dict[str, Any]:
    """The JSON Schema of every frame and body, by name."""
    return {model.__name__: model.model_json_schema() for model in (*CLIENT_FRAMES, *SERVER_FRAMES, *BODIES)}
