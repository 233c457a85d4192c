from datetime import timedelta

import pytest
from syncserver_client.errors import Transient
from syncserver_client.mirror import Mirror
from syncserver_client.session import NOTHING, Session

STAMP = "2026-01-01T00:00:00.000000Z"


@pytest.fixture
def session(clock):
    return Session(Mirror(), clock, ["progress"])


def changes(start, end, *keys, more=False):
    rows = [
        {"resource": "progress", "key": k, "op": "put", "data": {}, "offset": n, "updated_at": STAMP, "device_id": "d"}
        for k, n in keys
    ]
    return {"type": "changes", "from": start, "to": end, "rows": rows, "more": more}


def ready(cursor):
    return {"type": "ready", "cursor": cursor, "server_time": STAMP}


def keys(step):
    return [change.key for change in step.changes]


def test_subscribe_asks_from_the_own_cursor(session):
    assert session.subscribe() == {"type": "subscribe", "resources": ["progress"], "cursor": None}
    session.receive(changes("x", "c1"))
    assert session.subscribe()["cursor"] == "c1"


def test_pages_show_at_ready_and_then_at_the_last_page(session):
    assert session.receive(changes("0", "1", ("a", 1), more=True)) == NOTHING
    assert session.receive(changes("1", "2", ("b", 2))) == NOTHING
    step = session.receive(ready("2"))
    assert step.ready
    assert keys(step) == ["a", "b"]
    assert keys(session.receive(changes("2", "3", ("c", 3), more=True))) == []
    assert keys(session.receive(changes("3", "4", ("d", 4)))) == ["c", "d"]


def test_a_gap_is_dropped_and_asked_for_once(session):
    session.receive(changes("0", "1", ("a", 1)))
    session.receive(ready("1"))
    assert session.receive(changes("2", "3", ("c", 3))).resubscribe
    assert session.receive(changes("3", "4", ("d", 4))) == NOTHING
    assert session.receive(changes("1", "4", ("b", 2), ("c", 3), ("d", 4))) == NOTHING
    assert keys(session.receive(ready("4"))) == ["b", "c", "d"]


def test_the_first_ready_is_believed_wherever_it_stands(session):
    assert session.receive(ready("9")).ready
    assert session.subscribe()["cursor"] == "9"


def test_a_ready_elsewhere_is_a_gap(session):
    session.receive(ready("1"))
    assert session.receive(ready("2")).resubscribe
    assert session.receive(ready("2")) == NOTHING
    assert session.receive(changes("1", "2", ("a", 2))) == NOTHING
    assert keys(session.receive(ready("2"))) == ["a"]


def test_a_gap_that_does_not_close_ends_the_socket(session):
    session.receive(ready("1"))
    for _ in range(3):
        session.receive(ready("2"))
    with pytest.raises(Transient, match="gap"):
        session.receive(ready("2"))


def test_refetch_begins_from_nothing(session):
    session.receive(changes("0", "1", ("a", 1)))
    session.receive(ready("1"))
    assert session.receive({"type": "refetch", "reason": "floor"}).resubscribe
    assert session.subscribe()["cursor"] is None
    step = session.receive(ready("9"))
    assert [(c.key, c.op) for c in step.changes] == [("a", "remove")]


def test_other_frames_say_what_follows(session):
    assert session.receive({"type": "ack", "acks": [{"mutation_id": "m", "status": "applied"}]}).acks[0].offset is None
    assert session.receive({"type": "goodbye", "code": 1012, "retry_after_s": 1.5}).retry_after_s == 1.5
    assert session.receive({"type": "error", "code": "quota", "detail": "d"}).error == ("quota", "d")
    assert session.receive({"type": "token_expiring", "in_s": 5}).token_expiring
    assert session.receive({"type": "of tomorrow"}) == NOTHING


def test_pong_teaches_the_clock(session, clock):
    session.receive({"type": "pong", "sent_at": STAMP, "server_time": "2026-01-01T01:00:00Z"})
    assert abs(clock.offset - timedelta(hours=1)) <= timedelta(seconds=1)


@pytest.mark.parametrize(
    "frame", [{"type": "changes"}, {"type": "ready"}, {"type": "ack", "acks": [3]}, {"type": "ack"}]
)
def test_what_cannot_be_read_ends_the_attempt_not_the_client(session, frame):
    with pytest.raises(Transient):
        session.receive(frame)
