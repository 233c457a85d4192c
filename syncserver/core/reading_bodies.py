"""Bodies over HTTP that are about reading sessions: conflicts looked at and settled, and what was read offline.

A session's own fields are those of the resource and validated where all writes are; here is what stands around them.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag
from pydantic.config import JsonDict

from syncserver.core.clock import Stamp
from syncserver.core.resolver import Policy
from syncserver.core.values import (
    A_KEY,
    A_TEMPORARY,
    DeviceIdentity,
    Id,
    Model,
    Name,
    Place,
    Row,
    Status,
    Temporary,
)

SESSIONS = 100
INTERVALS = 100
_SECONDS_MAX = 1_000_000_000
_KNOWN = "Or the `updated_at` that you last saw; `base` goes before it."

Base = Annotated[int, Field(ge=0, le=2**63 - 1, description="The offset at which you last saw the session.")]
Seen = Annotated[Stamp, Field(description=_KNOWN)]
Winner = Literal["stored", "yours"]


def _forward(interval: list[Stamp]) -> list[Stamp]:
    if interval[0] > interval[1]:
        raise ValueError("ends before it begins")
    return interval


Interval = Annotated[list[Stamp], Field(min_length=2, max_length=2), AfterValidator(_forward)]
"""From and to; read in whole seconds."""


class ConflictCheck(Model):
    """POST /api/v1/reading-sessions/{id}/check: what you would write, and the state in which you saw the session.

    One of `base` and `seen_updated_at` is needed.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"base": 7, "fields": {"percentage": 0.5}}]})

    fields: dict[str, Any]
    base: Base | None = None
    seen_updated_at: Seen | None = None


class Outcome(Model):
    """Whose fields would stand, under each policy."""

    last_write_wins: Annotated[Winner, Field(alias="last-write-wins")]
    server_wins: Annotated[Winner, Field(alias="server-wins")]
    client_wins: Annotated[Winner, Field(alias="client-wins")]


class ConflictInfo(Model):
    """What would become of an update: whether somebody wrote since you looked, both versions, and who would win."""

    conflict: bool
    row: Row
    yours: dict[str, Any]
    differs: list[str]
    outcome: Outcome


class ConflictResolution(Model):
    """POST /api/v1/reading-sessions/{id}/resolve: fields to write, and the rule by which they meet what is stored."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"policy": "client-wins", "base": 7, "fields": {"percentage": 0.5}}]}
    )

    policy: Policy = Field(strict=False)
    fields: dict[str, Any]
    base: Base | None = None
    seen_updated_at: Seen | None = None


class ConflictResolved(Model):
    """The session as it is then, and whose fields stand. `conflict_id`: the record of the version that lost."""

    won: Winner
    row: Row
    conflict_id: str | None = None


class OfflineSession(Model):
    """A session as a device kept it while it was away: all its fields, and what it knows besides.

    `temp_id` is a name of the client's own, for good; or `id`, where the device made one. `intervals`: when it was
    really read; with them, `last_activity` is the end of the last. `active_seconds`: of the whole session; left out, it
    is the length of the intervals together. `updated_at`: when it was last changed; left out, when it was last read.
    """

    model_config = ConfigDict(extra="allow")

    temp_id: Name | None = None
    id: Id | None = None
    intervals: Annotated[list[Interval], Field(max_length=INTERVALS, default_factory=list)]
    base: Base | None = None
    policy: Policy | None = Field(default=None, strict=False)
    updated_at: Stamp | None = None
    resumed_from: (
        Annotated[
            Annotated[Id, Tag(A_KEY)] | Annotated[Temporary, Tag(A_TEMPORARY)],
            Discriminator(lambda value: A_TEMPORARY if isinstance(value, dict | Temporary) else A_KEY),
        ]
        | None
    ) = None
    status: Literal["active", "paused", "completed", "abandoned"] = "active"
    last_activity: Stamp | None = None
    active_seconds: Annotated[int, Field(ge=0, le=_SECONDS_MAX)] | None = None


_READ_OFFLINE: JsonDict = {
    "device": {"id": "tablet-1", "name": "Tablet"},
    "client_id": "tablet-1/reader",
    "sessions": [
        {
            "temp_id": "evening-1",
            "publication_id": "moby-dick",
            "percentage": 0.3,
            "status": "paused",
            "intervals": [["2026-03-01T20:00:00Z", "2026-03-01T20:25:00Z"]],
        }
    ],
}


class OfflineSync(Model):
    """POST /api/v1/reading-sessions/sync: what a device that was away has read. Each session is judged on its own."""

    model_config = ConfigDict(json_schema_extra={"examples": [_READ_OFFLINE]})

    device: DeviceIdentity
    client_id: Name
    sessions: Annotated[list[dict[str, Any]], Field(max_length=SESSIONS)]


class OfflineResult(Model):
    """What became of one session of the batch; `row` is the session as it is now.

    `code`, `detail` and `errors` come with rejected and deferred, `conflict_id` where a version lost, `reading_id` with
    a session that is completed.
    """

    temp_id: str | None = None
    id: str | None = None
    status: Status
    row: Row | None = None
    reading_id: str | None = None
    conflict_id: str | None = None
    code: str | None = None
    detail: str | None = None
    errors: list[Place] | None = None


class OfflineTotals(Model):
    """Of all sessions of the batch that were taken; time that two of them share counts once."""

    active_seconds: int


class OfflineAnswer(Model):
    """One result for each session, in order, and what temporary names became."""

    results: list[OfflineResult]
    ids: dict[str, str]
    totals: OfflineTotals
