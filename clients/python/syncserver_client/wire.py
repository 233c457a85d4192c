"""JSON and time stamps as the wire wants them: strict JSON, RFC 3339 with microseconds in UTC."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import orjson

from syncserver_client.errors import Transient

JsonObject = dict[str, Any]


def encode(value: Any) -> bytes:
    """JSON bytes of `value`; TypeError for what JSON cannot say."""
    return orjson.dumps(value)


def encode_strictly(value: Any) -> bytes:
    """As `encode`, for values of an app: ValueError for NaN, which orjson alone would silently make null."""
    _refuse_nan(value)
    return orjson.dumps(value)


def _refuse_nan(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("JSON has no NaN and no infinity")
    if isinstance(value, dict):
        for part in value.values():
            _refuse_nan(part)
    elif isinstance(value, list | tuple):
        for part in value:
            _refuse_nan(part)


def canonical(value: Any) -> bytes:
    """One text for one JSON value, so that 1 and true, which Python takes for equal, are told apart."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def decode_object(text: bytes | str) -> JsonObject:
    """The JSON object in `text`; Transient("bad_frame") for anything else."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Transient("bad_frame", "the server sent something that is no JSON") from error
    if not isinstance(value, dict):
        raise Transient("bad_frame", "the server sent JSON that is no object")
    return value


def format_stamp(moment: datetime) -> str:
    """`moment` (any time zone) as `2026-01-02T03:04:05.000006Z`."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_stamp(text: str) -> datetime:
    """The moment of an RFC 3339 stamp, in UTC; ValueError if it is none."""
    return datetime.fromisoformat(text).astimezone(UTC)


def optional_stamp(text: str | None) -> datetime | None:
    """As `parse_stamp`, where there may be none."""
    return None if text is None else parse_stamp(text)
