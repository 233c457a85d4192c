from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core import bodies, clock, encode, frames, values
from syncserver.core.change import Change, Page
from syncserver.core.cursor import Cursor

NOW = datetime(2026, 11, 22, 8, 15, tzinfo=UTC)

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_stamps = st.datetimes(datetime(1, 1, 2), datetime(9998, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
_states = st.dictionaries(_text, _text | st.integers(-(2**53), 2**53) | st.none() | st.lists(_text, max_size=3))


def _change(
    offset: int, key: str, state: dict[str, Any] | None, at: datetime, device: str | None, mine: bool
) -> Change:
    data = orjson.dumps(state).decode() if state is not None else None
    op = "put" if state is not None else "remove"
    return Change("progress", key, offset, op, at, device, data, "m" if mine else None)  # type: ignore[arg-type]


_changes = st.builds(
    _change, st.integers(1, 2**53), _text, st.none() | _states, _stamps, st.none() | _text, st.booleans()
)
_pages = st.builds(
    Page,
    owner=_text,
    epoch=st.just("e9a1"),
    since=st.integers(0, 2**53),
    until=st.integers(0, 2**53),
    floor=st.just(0),
    head=st.integers(0, 2**53),
    changes=st.lists(_changes, max_size=5),
    more=st.booleans(),
)


def _as_written(changes: Any) -> list[tuple[Any, ...]]:
    return [
        (c.key, c.offset, c.op, c.updated_at, c.device_id, c.data and orjson.loads(c.data), c.mutation_id)
        for c in changes
    ]


def _as_read(rows: list[values.Row]) -> list[tuple[Any, ...]]:
    return [(r.key, r.offset, r.op, r.updated_at, r.device_id, r.data, r.mutation_id) for r in rows]


@given(_pages)
def test_a_page_is_encoded_as_the_changes_frame_of_the_protocol(page: Page):
    frame = frames.Changes.model_validate_json(encode.changes(page, page.changes))
    assert frame.from_ == str(Cursor.at(page.epoch, page.owner, page.since, page.began))
    assert frame.to == str(Cursor.at(page.epoch, page.owner, page.until, page.began))
    assert frame.more is page.more
    assert _as_read(frame.rows) == _as_written(page.changes)


@given(_pages, _stamps)
def test_a_page_is_encoded_as_the_answer_over_http(page: Page, now: datetime):
    answer = bodies.ChangesAnswer.model_validate_json(encode.changes_answer(page, now))
    assert answer.cursor == str(Cursor.at(page.epoch, page.owner, page.until, page.began))
    assert (answer.more, answer.server_time) == (page.more, now)
    assert _as_read(answer.rows) == _as_written(page.changes)


def test_a_row_s_data_is_passed_on_unread():
    state = '{"percentage" : 0.10, "position" : "\\u00e9"}'
    change = Change("progress", "k", 1, "put", NOW, None, state)
    page = Page("user:ada", "e", 0, 1, 0, 1, [change], more=False)
    assert state.encode() in encode.changes(page, page.changes)


@given(_text, _stamps)
def test_ready_is_encoded_as_the_protocol_says(cursor: str, now: datetime):
    ready = frames.Ready.model_validate_json(encode.ready(cursor, now))
    assert (ready.cursor, ready.server_time) == (cursor, now)


@given(now=_stamps, echo=_stamps, expires_at=st.none() | _stamps, drift_s=st.none() | st.floats(-900, 900))
def test_welcome_is_encoded_as_the_protocol_says(
    now: datetime, echo: datetime, expires_at: datetime | None, drift_s: float | None
):
    meant = frames.Welcome(
        connection="c",
        server_time=now,
        echo=echo,
        epoch="e",
        heartbeat_s=15,
        limits=frames.Limits(frame_bytes=50_000),
        token_expires_at=expires_at,
        drift_s=drift_s,
    )
    told = clock.write(expires_at) if expires_at is not None else None
    limits = {"frame_bytes": 50_000, "mutations": values.MUTATIONS}
    frame = encode.welcome("c", now, echo, "e", heartbeat_s=15.0, limits=limits, token_expires_at=told, drift_s=drift_s)
    assert orjson.loads(frame) == orjson.loads(encode.frame(meant))


@given(st.lists(_changes, max_size=3))
def test_acks_are_encoded_as_the_protocol_says(changes: list[Change]):
    answers: list[dict[str, Any]] = [
        {"mutation_id": "m", "status": "superseded", "row": orjson.Fragment(encode.row(change)), "conflict_id": "c"}
        for change in changes
    ]
    answers.append({"mutation_id": None, "status": "rejected", "code": "invalid", "detail": "No."})
    read = frames.Acks.model_validate_json(encode.acks(answers))
    assert _as_read([ack.row for ack in read.acks if ack.row]) == _as_written(changes)
    assert [ack.status for ack in read.acks] == ["superseded"] * len(changes) + ["rejected"]


@pytest.mark.parametrize(
    "frame",
    [
        frames.Welcome(connection="c", server_time=NOW, echo=NOW, heartbeat_s=15, token_expires_at=None, epoch="e"),
        frames.Welcome(connection="c", server_time=NOW, echo=NOW, heartbeat_s=15, token_expires_at=NOW, epoch="e"),
        frames.RefetchFrame(reason="epoch"),
        frames.ErrorFrame(code="invalid", detail="No."),
        frames.ErrorFrame(code="unavailable", detail="Soon.", retry_after_s=1),
        frames.Goodbye(code=1012, retry_after_s=0.5),
        frames.Pong(sent_at=None, server_time=NOW),
        frames.Pong(sent_at=NOW, server_time=NOW),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_every_other_frame_comes_back_from_its_own_json(frame: values.Model):
    assert type(frame).model_validate_json(encode.frame(frame)) == frame
