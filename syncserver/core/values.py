"""The values on the wire that frames and bodies are made of (rows, mutations, acks, devices), and their limits."""

import re
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from syncserver.core.clock import Stamp
from syncserver.core.resolver import Policy

FRAME_BYTES = 1_048_576
MUTATIONS = 500
KEY_MAX_CHARS = 512
AFTER_MAX = 64
STATE_BYTES = 4_096
BROADCAST_BYTES = 16_384
WAIT_MAX_S = 60


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
"""C0 and C1 of Unicode."""


def clean(text: str) -> str:
    """Text that PostgreSQL can hold and a terminal can show: no control characters (NUL above all)."""
    if _CONTROL.search(text):
        raise ValueError("control characters are not allowed")
    return text


Name = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(clean)]
Key = Annotated[str, Field(min_length=1, max_length=KEY_MAX_CHARS), AfterValidator(clean)]
_UUID = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
Id = Annotated[str, Field(pattern=_UUID), AfterValidator(str.lower)]
Digits = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Token = Annotated[str, Field(max_length=16_384)]
Ticket = Annotated[str, Field(min_length=1, max_length=128)]
CursorText = Annotated[str, Field(max_length=128)]
Status = Literal["applied", "merged", "superseded", "duplicate", "rejected", "deferred"]


class Model(BaseModel):
    """Types are exact (no "1" for 1); unknown fields are ignored, as PROTOCOL.md says."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


def within(limit_bytes: int) -> AfterValidator:
    """Bound a JSON value by its size as text."""

    def bounded(value: Any) -> Any:
        if len(orjson.dumps(value)) > limit_bytes:
            raise ValueError(f"larger than {limit_bytes} bytes")
        return value

    return AfterValidator(bounded)


class Row(Model):
    """A row as it is at `offset`; `data` is null for a removal.

    `claimed_at`: the stamp as the device claimed it, where the server changed it.
    """

    resource: str
    key: str
    offset: int
    op: Literal["put", "remove"]
    device_id: str | None = None
    updated_at: Stamp
    data: dict[str, Any] | None = None
    mutation_id: str | None = None
    claimed_at: Stamp | None = None


class Temporary(Model):
    """A name that stands for a key until the server has made it; each client's names are its own."""

    temp: Name


A_KEY, A_TEMPORARY = "a key", "a temporary name"
"""What the two forms of a mutation's key are called; no part of a place in the input (see protocol.pointer)."""

_KeyOrTemporary = Annotated[
    Annotated[Key, Tag(A_KEY)] | Annotated[Temporary, Tag(A_TEMPORARY)],
    Discriminator(lambda value: A_TEMPORARY if isinstance(value, dict | Temporary) else A_KEY),
]


class Mutation(Model):
    """A client's proposed write. `base`: the offset at which it last saw the row, null if it never did.

    `op`: put, patch or remove, or an action that the resource has (such as `complete` of a reading session).

    `after`: mutations that must have worked before this one. `{"$temp": name}` anywhere in `data` stands for a key.
    """

    mutation_id: Id
    resource: Name
    key: _KeyOrTemporary
    op: Annotated[str, Field(pattern="^[a-z]{1,16}$")]
    data: dict[str, Any] | None = None
    base: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    updated_at: Stamp | None = None
    after: Annotated[list[Id], Field(max_length=AFTER_MAX)] = []
    policy: Policy | None = Field(default=None, strict=False)


class Place(Model):
    """What is wrong at a place in the mutation, a JSON pointer."""

    pointer: str
    detail: str


class Ack(Model):
    """The answer to one mutation. `row` and `conflict_id` come with superseded, `code` and `detail` with rejected.

    `errors`: the places, where it is rejected as invalid. `id_map`: what temporary names became. `updated_at`: the
    stamp that the write got, where it is not the claimed one.
    """

    mutation_id: str | None
    status: Status
    offset: int | None = None
    row: Row | None = None
    conflict_id: str | None = None
    code: str | None = None
    detail: str | None = None
    errors: list[Place] | None = None
    id_map: dict[str, str] | None = None
    updated_at: Stamp | None = None


class DeviceIdentity(Model):
    """One installation: a random id that it keeps, and names for people."""

    id: Name
    name: Name | None = None
    app: Name | None = None


class Digest(Model):
    """The live rows of one resource that a client holds: how many, and the XOR of their hashes (see api.md)."""

    rows: Annotated[int, Field(ge=0)]
    xor: Digits


Digests = Annotated[dict[Name, Digest], Field(max_length=64)]


class Here(Model):
    """One device that is here."""

    connection: str
    device_id: str
    device_name: str | None = None
    app: str | None = None
    state: dict[str, Any] | None = None
    since: Stamp
    seen_at: Stamp
