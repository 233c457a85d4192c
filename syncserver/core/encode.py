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


def _text(value: str | None) -> str:
    return orjson.dumps(value).decode()


def row(change: Change) -> str:
    """A change as the wire's Row, put together by hand: this is most of what a change costs on its way out."""
    resource, key, offset, op, updated_at, device_id, data, mutation_id, claimed_at = change
    told = "" if mutation_id is None else f',"mutation_id":{_text(mutation_id)}'
    if claimed_at is not None:
        told += f',"claimed_at":"{clock.write(claimed_at)}"'
    return (
        f'{{"resource":"{resource}","key":{_text(key)},"offset":{offset},"op":"{op}","device_id":{_text(device_id)},'
        f'"updated_at":"{clock.write(updated_at)}","data":{"null" if data is None else data}{told}}}'
    )


def changes(page: Page, rows: Iterable[Change]) -> bytes:
    """A `changes` frame: the page's cursors with those of its rows that the receiver asked for."""
    since = cursor.text(page.epoch, page.owner, page.since, page.began)
    until = cursor.text(page.epoch, page.owner, page.until, page.began)
    told = ",".join([row(change) for change in rows])
    more = "true" if page.more else "false"
    return f'{{"type":"changes","from":"{since}","to":"{until}","rows":[{told}],"more":{more}}}'.encode()


def changes_answer(page: Page, server_time: datetime) -> bytes:
    """The body of GET /api/v1/changes."""
    return orjson.dumps(
        {
            "rows": [orjson.Fragment(row(change)) for change in page.changes],
            "cursor": str(page.cursor_until),
            "more": page.more,
            "server_time": clock.write(server_time),
        }
    )


def welcome(connection: str, server_time: datetime, echo: datetime, epoch: str, **more: Any) -> bytes:
    """A `welcome` frame; `more`: its other members, as JSON has them, None for those that are left out."""
    told = {name: value for name, value in more.items() if value is not None}
    said = {"type": "welcome", "connection": connection, "server_time": clock.write(server_time)}
    return orjson.dumps({**said, "echo": clock.write(echo), "epoch": epoch, **told})


def ready(reached: str, server_time: datetime) -> bytes:
    """A `ready` frame: everything up to the cursor `reached`, as of `server_time`."""
    return orjson.dumps({"type": "ready", "cursor": reached, "server_time": clock.write(server_time)})


def acks(answers: Iterable[Mapping[str, Any]]) -> bytes:
    """An `ack` frame."""
    return orjson.dumps({"type": "ack", "acks": list(answers)})
