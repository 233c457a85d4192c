"""One example of each frame, as it stands on the wire; a test reads each with the frame's own model."""

from collections.abc import Mapping
from typing import Any

from syncserver.core import frames, values

_BEFORE, _AFTER = "0f3c.c10ce1ca.6", "0f3c.c10ce1ca.7"
_EARLIER, _NOW = "2026-11-22T08:14:58.120000Z", "2026-11-22T08:15:00.000120Z"
_CONNECTION = "9d1f8a52-5a0e-4c55-9a3c-5f0d5a8e2b11"
_MUTATION_ID = "019a9f60-7c1e-7b3a-8f00-2d1c5b6a7e90"
_CONFLICT_ID = "5c7f2b0e-1d6a-4c1b-9b57-0e6f3f0a9d42"
_WRITTEN = {"percentage": 0.25, "position": "/body/p[12]", "position_kind": "xpointer"}
_ROW = {
    "resource": "progress",
    "key": "moby-dick",
    "offset": 7,
    "op": "put",
    "device_id": "tablet-1",
    "updated_at": _NOW,
    "data": {"publication_id": "moby-dick", **_WRITTEN, "furthest": 0.25, "status": "reading"},
    "mutation_id": _MUTATION_ID,
}
_MUTATION = {
    "mutation_id": _MUTATION_ID,
    "resource": "progress",
    "key": "moby-dick",
    "op": "put",
    "data": _WRITTEN,
    "base": 6,
    "updated_at": _NOW,
}
_DEVICE = {"id": "tablet-1", "name": "Tablet"}
_DIGESTS = {"progress": {"rows": 1, "xor": "f65f461473c12545"}}

PUSH = {"device": _DEVICE, "client_id": "tablet-1/reader", "sent_at": _NOW, "mutations": [_MUTATION]}
VERIFY = {"cursor": _AFTER, "digests": _DIGESTS}
"""The same over plain HTTP."""

EXAMPLES: Mapping[type[values.Model], dict[str, Any]] = {
    frames.Hello: {
        "type": "hello",
        "token": "eyJhbGciOi..",
        "device": {**_DEVICE, "app": "reader 1.0"},
        "client_id": "tablet-1/reader",
        "sent_at": _EARLIER,
        "protocol": [frames.PROTOCOL, frames.PROTOCOL],
    },
    frames.Subscribe: {"type": "subscribe", "resources": None, "cursor": _BEFORE},
    frames.Unsubscribe: {"type": "unsubscribe"},
    frames.Push: {"type": "push", "mutations": [_MUTATION]},
    frames.Ping: {"type": "ping", "sent_at": _EARLIER},
    frames.Auth: {"type": "auth", "token": "eyJhbGciOi.."},
    frames.Verify: {"type": "verify", **VERIFY},
    frames.Presence: {"type": "presence", "state": {"reading": "moby-dick"}},
    frames.Broadcast: {"type": "broadcast", "topic": "page-turn", "data": {"to": 12}},
    frames.Welcome: {
        "type": "welcome",
        "connection": _CONNECTION,
        "server_time": _NOW,
        "echo": _EARLIER,
        "heartbeat_s": 15.0,
        "token_expires_at": "2026-11-22T09:15:00.000000Z",
        "limits": {"frame_bytes": values.FRAME_BYTES, "mutations": values.MUTATIONS},
        "epoch": "0f3c",
    },
    frames.Changes: {"type": "changes", "from": _BEFORE, "to": _AFTER, "rows": [_ROW], "more": False},
    frames.Ready: {"type": "ready", "cursor": _AFTER, "server_time": _NOW},
    frames.Acks: {"type": "ack", "acks": [{"mutation_id": _MUTATION_ID, "status": "applied", "offset": 7}]},
    frames.RefetchFrame: {"type": "refetch", "reason": "epoch"},
    frames.ErrorFrame: {"type": "error", "code": "malformed", "detail": "The frame is not JSON."},
    frames.Goodbye: {"type": "goodbye", "code": 1012, "retry_after_s": 0.7},
    frames.Pong: {"type": "pong", "sent_at": _EARLIER, "server_time": _NOW},
    frames.TokenExpiring: {"type": "token_expiring", "in_s": 60.0},
    frames.Verified: {"type": "verified", "cursor": _AFTER, "outcome": "same"},
    frames.PresenceFrame: {
        "type": "presence",
        "devices": [
            {
                "connection": _CONNECTION,
                "device_id": "phone-1",
                "device_name": "Phone",
                "app": "reader 1.0",
                "state": {"reading": "emma"},
                "since": _EARLIER,
                "seen_at": _NOW,
            }
        ],
    },
    frames.BroadcastFrame: {
        "type": "broadcast",
        "topic": "page-turn",
        "data": {"to": 12},
        "connection": _CONNECTION,
        "device_id": "tablet-1",
        "sent_at": _NOW,
    },
    frames.ConflictNote: {
        "type": "conflict",
        "conflict_id": _CONFLICT_ID,
        "resource": "progress",
        "key": "moby-dick",
        "policy": "last-write-wins",
        "reason": "newer",
        "created_at": _NOW,
    },
}
