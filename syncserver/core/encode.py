"""Frames and bodies as bytes. A change's data is the text that PostgreSQL wrote, put into the frame unread."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import orjson

from syncserver.core import clock, cursor, values
from syncserver.core.change import Change, Page


def frame(model: values.Model) -> bytes:
    """Any frame that is not sent often."""
    return orjson.dumps(model.model_dump(mode="json", by_alias=True, exclude_none=True))


def row(change: Change) -> dict[str, Any]:
    """A change as the wire's Row, ready for `orjson.dumps`."""
    shown: dict[str, Any] = {
        "resource": change.resource,
        "key": change.key,
        "offset": change.offset,
        "op": change.op,
        "device_id": change.device_id,
        "updated_at": clock.write(change.updated_at),
        "data": orjson.Fragment(change.data) if change.data is not None else None,
    }
    if change.mutation_id is not None:
        shown["mutation_id"] = change.mutation_id
    if change.claimed_at is not None:
        shown["claimed_at"] = clock.write(change.claimed_at)
    return shown


def changes(page: Page, rows: Iterable[Change]) -> bytes:
    """A `changes` frame: the page's cursors with those of its rows that the receiver asked for."""
    return orjson.dumps(
        {
            "type": "changes",
            "from": cursor.text(page.epoch, page.owner, page.since, page.began),
            "to": cursor.text(page.epoch, page.owner, page.until, page.began),
            "rows": [row(change) for change in rows],
            "more": page.more,
        }
    )


def changes_answer(page: Page, server_time: datetime) -> bytes:
    """The body of GET /api/v1/changes."""
    return orjson.dumps(
        {
            "rows": [row(change) for change in page.changes],
            "cursor": str(page.cursor_until),
            "more": page.more,
            "server_time": clock.write(server_time),
        }
    )


def ready(reached: str, server_time: datetime) -> bytes:
    """A `ready` frame: everything up to the cursor `reached`, as of `server_time`."""
    return orjson.dumps({"type": "ready", "cursor": reached, "server_time": clock.write(server_time)})


def acks(answers: Iterable[Mapping[str, Any]]) -> bytes:
    """An `ack` frame."""
    return orjson.dumps({"type": "ack", "acks": list(answers)})
