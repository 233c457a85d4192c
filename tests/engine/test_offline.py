"""What was read offline, as mutations: pure; and over a real database, that a batch told twice counts once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncserver.core import clock
from syncserver.core.actor import Device
from syncserver.core.errors import Invalid, RateLimited, TooLarge
from syncserver.engine import offline
from syncserver.engine.decide import Sender
from syncserver.engine.homecoming import Homecoming
from syncserver.engine.pull import Pull
from syncserver.engine.push import Push
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog

EVENING = datetime(2026, 2, 27, 20, 0, tzinfo=UTC)
Raw = dict[str, Any]


def at(minutes: float) -> str:
    return clock.write(EVENING + timedelta(minutes=minutes))


def session(*intervals: tuple[float, float], **fields: Any) -> Raw:
    own = {"temp_id": "evening", "publication_id": "moby", "intervals": [[at(a), at(b)] for a, b in intervals]}
    return {**own, **fields}


def mutations(raw: Raw, client_id: str = "tablet") -> list[Raw]:
    planned = offline.plan(raw, client_id)
    return [planned.first, *planned.rest]


def times(raw: Raw) -> list[tuple[str, str | None, int, str | None]]:
    """Of each mutation: op, last activity, active seconds and stamp."""
    return [
        (m["op"], m["data"].get("last_activity"), m["data"]["active_seconds"], m.get("updated_at"))
        for m in mutations(raw)
    ]


def test_each_interval_is_a_write_at_its_end_and_the_last_one_brings_all_fields():
    raw = session((60, 80), (0, 10), (30, 45), status="completed", percentage=1.0, state={"zoom": 2})
    assert times(raw) == [
        ("put", at(10), 600, at(10)),
        ("patch", at(45), 1500, at(45)),
        ("put", at(80), 2700, at(80)),
    ]
    first, _, last = mutations(raw)
    assert (first["data"]["status"], last["data"]["status"]) == ("active", "completed")
    assert first["data"]["started_at"] == last["data"]["started_at"] == at(0)
    assert last["data"]["percentage"] == 1.0
    assert first["key"] == last["key"] == {"temp": "evening"}


def test_one_interval_or_none_is_one_write():
    assert times(session((0, 10), status="paused")) == [("put", at(10), 600, at(10))]
    assert times(session((0, 10), updated_at=at(20))) == [("put", at(10), 600, at(20))]
    assert times(session(last_activity=at(5), active_seconds=60)) == [("put", at(5), 60, at(5))]
    assert times(session()) == [("put", None, 0, None)]


def test_intervals_that_overlap_or_touch_count_once_and_empty_ones_not_at_all():
    assert times(session((0, 10), (5, 20), (20, 30), (50, 50))) == [("put", at(30), 1800, at(30))]


def test_what_was_read_before_the_intervals_is_in_the_whole_time():
    assert [n for _, _, n, _ in times(session((0, 10), (20, 30), active_seconds=2000))] == [1400, 2000]
    assert mutations(session((0, 10), active_seconds=2000))[0]["data"]["started_at"] == at(10 - 2000 / 60)
    assert [n for _, _, n, _ in times(session((0, 10), (20, 30), active_seconds=5))] == [600, 1200]


def test_one_that_goes_on_from_another_ends_with_an_action_so_that_it_keeps_what_it_took():
    raw = session((0, 10), (20, 30), resumed_from={"temp": "morning"}, percentage=0.5, completed_at=at(30))
    first, last = mutations({**raw, "status": "completed"})
    assert first["data"]["resumed_from"] == {"$temp": "morning"}
    assert (last["op"], last["data"]["percentage"], last["data"]["completed_at"]) == ("complete", 0.5, at(30))
    assert last["data"].keys().isdisjoint({"status", "resumed_from", "title"})
    assert [mutations({**raw, "status": s})[-1]["op"] for s in ("active", "paused", "abandoned")] == [
        "patch",
        "pause",
        "abandon",
    ]
    assert offline.plan(raw, "c").after == "morning"


def test_the_same_session_is_the_same_mutations_and_any_other_has_ids_of_its_own():
    raw = session((0, 10), (20, 30))
    ids = [m["mutation_id"] for m in mutations(raw)]
    assert ids == [m["mutation_id"] for m in mutations(dict(reversed(raw.items())))]
    assert len(set(ids)) == 2
    others = [
        mutations(session((0, 10), (20, 30), percentage=0.1)),
        mutations(session((0, 10), (20, 30), temp_id="other")),
        mutations(raw, "phone"),
    ]
    for other in others:
        assert {m["mutation_id"] for m in other}.isdisjoint(ids)


def test_base_is_of_the_first_write_alone_and_what_follows_is_never_older_than_what_that_became():
    planned = offline.plan(session((0, 10), (20, 30), base=7, policy="server-wins"), "tablet")
    assert (planned.first["base"], "base" in planned.rest[0]) == (7, False)
    assert planned.rest[0]["policy"] == "server-wins"
    raised = {"mutation_id": "m", "status": "applied", "offset": 9, "updated_at": at(100)}
    (rest,) = offline.following(planned, raised)
    assert rest["updated_at"] == clock.write(clock.read(at(100)) + clock.TICK)
    assert "policy" not in rest
    assert offline.following(planned, {"status": "applied", "offset": 9})[0]["updated_at"] == at(30)
    assert offline.following(planned, {"status": "superseded", "row": {}}) == planned.rest


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"temp_id": None}, "/id"),
        ({"id": "019a9f60-7c1e-7b3a-8f00-2d1c5b6a7e90"}, "/id"),
        ({"temp_id": ""}, "/temp_id"),
        ({"temp_id": "a\0"}, "/temp_id"),
        ({"intervals": 5}, "/intervals"),
        ({"intervals": [[at(1), at(0)]]}, "/intervals/0"),
        ({"intervals": [[at(0), at(1)], [at(1), "later"]]}, "/intervals/1/1"),
        ({"status": "lost"}, "/status"),
        ({"resumed_from": {"temp": ""}}, "/resumed_from/temp"),
        ({"resumed_from": "morning"}, "/resumed_from"),
        ({"active_seconds": -1}, "/active_seconds"),
        ({"base": "1"}, "/base"),
        ({"policy": "luck"}, "/policy"),
    ],
)
def test_what_is_no_session_is_invalid_at_its_place(changed: Raw, place: str):
    with pytest.raises(Invalid) as raised:
        offline.plan({**session((0, 1)), **changed}, "tablet")
    assert [error["pointer"] for error in raised.value.errors] == [place]


def test_more_intervals_than_a_hundred_are_too_large():
    many = [(float(n), n + 0.5) for n in range(101)]
    assert len(mutations(session(*many[:100]))) == 100
    with pytest.raises(TooLarge):
        offline.plan(session(*many), "tablet")


# -- laws --------------------------------------------------------------------------

_minutes = st.integers(0, 300).map(lambda n: n / 4)
_interval = st.tuples(_minutes, _minutes).map(lambda pair: (min(pair), max(pair)))
_intervals = st.lists(_interval, max_size=8)


def seconds_of(intervals: list[tuple[float, float]]) -> set[int]:
    """Every second in these, told one by one."""
    return {n for a, b in intervals for n in range(int(a * 60), int(b * 60))}


@given(_intervals)
def test_the_seconds_that_each_write_adds_are_those_of_its_interval(intervals: list[tuple[float, float]]):
    passed, told = 0, set[int]()
    for _, last, active, _ in times(session(*intervals)):
        if last is not None:
            end = int((clock.read(last) - EVENING).total_seconds())
            told |= set(range(end - (active - passed), end))
            passed = active
    assert told == seconds_of(intervals)


_sessions = st.lists(
    st.tuples(st.lists(_interval, max_size=3), st.sampled_from(["active", "paused", "completed", "abandoned"])),
    min_size=1,
    max_size=4,
)


def state(sql: psycopg.Connection, owner: str) -> list[Any]:
    tables = ("reading_sessions", "session_events", "readings", "reading_times", "reading_progress", "channels")
    return [
        sorted(map(str, sql.execute(f"SELECT * FROM {table} WHERE owner = %s".encode(), [owner]).fetchall()))
        for table in tables
    ]


async def home(push: Push, pull: Pull, owner: str, batch: list[Raw]) -> Homecoming:
    coming = Homecoming(push, pull, Sender(owner, Device("tablet", None), "tablet/app"))
    for raw in batch:
        await coming.take(raw)
    return coming


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=_sessions)
async def test_the_same_batch_twice_is_once_and_its_total_is_plain_set_arithmetic(
    push: Push, pull: Pull, sql: psycopg.Connection, batch: list[tuple[list[tuple[float, float]], str]]
):
    owner = f"user:{datetime.now(UTC).timestamp()}"
    told = [session(*i, temp_id=f"s{n}", status=s, started_at=at(0)) for n, (i, s) in enumerate(batch)]
    first = await home(push, pull, owner, told)
    stood = state(sql, owner)
    assert {result["status"] for result in first.results} <= {"applied", "merged"}
    every = seconds_of([interval for intervals, _ in batch for interval in intervals])
    assert first.seconds(EVENING + timedelta(days=1)) == len(every)
    counted = sql.execute(
        "SELECT coalesce(sum(extract(epoch FROM upper(r) - lower(r))), 0)::int FROM"
        " (SELECT unnest(range_agg(active)) r FROM reading_times WHERE owner = %s) t",
        [owner],
    ).fetchone()
    assert counted == (len(every),)

    again = await home(push, pull, owner, told)
    assert {result["status"] for result in again.results} == {"duplicate"}
    assert (again.ids, again.seconds(EVENING + timedelta(days=1))) == (first.ids, len(every))
    assert state(sql, owner) == stood


async def test_what_is_still_to_come_is_in_no_total(push: Push, pull: Pull):
    coming = await home(push, pull, "user:ada", [session((0, 10), (20, 30))])
    assert coming.seconds(EVENING + timedelta(minutes=25)) == 900


async def test_once_too_much_was_sent_the_rest_waits_and_nothing_overtakes(
    server: Database, catalog: Catalog, pull: Pull, push: Push
):
    left = [3]

    def allow(_owner: str, number: int) -> None:
        left[0] -= number
        if left[0] < 0:
            raise RateLimited("too many", 1.0)

    limited = Push(server, catalog, lambda: EVENING + timedelta(days=1), allow=allow)
    limited._line_up = push._line_up  # type: ignore[method-assign]  # the queue that runs
    batch = [session((n, n + 1), temp_id=f"s{n}", publication_id=f"p{n}") for n in range(5)]
    coming = await home(limited, pull, "user:ada", batch)
    assert [r["status"] for r in coming.results] == ["applied"] * 3 + ["deferred"] * 2
    assert coming.results[-1]["code"] == "rate_limited"
    assert coming.seconds(EVENING + timedelta(days=1)) == 180
    with pytest.raises(RateLimited):
        await home(limited, pull, "user:ada", batch[3:])
    rest = await home(push, pull, "user:ada", batch)
    assert [r["status"] for r in rest.results] == ["duplicate"] * 3 + ["applied"] * 2
