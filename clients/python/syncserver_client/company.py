"""What an owner's devices tell each other without keeping it: who is here, broadcasts, and notes of conflicts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from syncserver_client.errors import Transient
from syncserver_client.wire import JsonObject, encode_strictly, parse_stamp

STATE_BYTES = 4 * 1024
TOPIC_CHARS = 128
BROADCAST_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Presence:
    """Another device of this owner that is here. `state` is what it announced; `seen_at` its last sign of life."""

    connection: str
    device_id: str
    device_name: str | None
    app: str | None
    state: JsonObject | None
    since: datetime
    seen_at: datetime

    @classmethod
    def from_wire(cls, frame: JsonObject) -> Presence:
        """The presence in a decoded JSON object; Transient("bad_frame") if it is none."""
        try:
            return cls(
                str(frame["connection"]),
                str(frame["device_id"]),
                frame.get("device_name"),
                frame.get("app"),
                frame.get("state"),
                parse_stamp(frame["since"]),
                parse_stamp(frame["seen_at"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Transient("bad_frame", "the server sent a presence that this client cannot read") from error


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A word of another connection of this owner: heard by those that are live at this moment, and never again."""

    topic: str
    value: Any
    connection: str
    device_id: str
    sent_at: datetime

    @classmethod
    def from_wire(cls, frame: JsonObject) -> Broadcast:
        """The broadcast in a decoded JSON object; Transient("bad_frame") if it is none."""
        try:
            return cls(
                str(frame["topic"]),
                frame.get("data"),
                str(frame["connection"]),
                str(frame["device_id"]),
                parse_stamp(frame["sent_at"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Transient("bad_frame", "the server sent a broadcast that this client cannot read") from error


def presence_frame(state: JsonObject | None) -> bytes:
    """The frame that announces `state`; ValueError or TypeError if it is no JSON object of at most 4 KiB."""
    if state is not None and not isinstance(state, dict):
        raise TypeError("a presence's state is a JSON object or None")
    if len(encode_strictly(state)) > STATE_BYTES:
        raise ValueError(f"a presence's state has at most {STATE_BYTES} bytes")
    return encode_strictly({"type": "presence", "state": state})


def broadcast_frame(topic: str, value: Any) -> bytes:
    """The frame that tells `value`; ValueError or TypeError if topic (128 characters) or JSON (16 KiB) are too long."""
    if not 1 <= len(topic) <= TOPIC_CHARS:
        raise ValueError(f"a topic has 1 to {TOPIC_CHARS} characters")
    if len(encode_strictly(value)) > BROADCAST_BYTES:
        raise ValueError(f"a broadcast has at most {BROADCAST_BYTES} bytes")
    return encode_strictly({"type": "broadcast", "topic": topic, "data": value})
