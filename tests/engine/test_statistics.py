"""What a reader wants to know, over a real database: it is what counting seconds one by one says."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncserver.core.actor import Device
from syncserver.core.errors import Invalid, Unavailable
from syncserver.core.statistics_bodies import PublicationRead, StatsAnswer
from syncserver.engine import statistics
from syncserver.engine.decide import Sender
from syncserver.engine.push import Push
from syncserver.engine.statistics import Statistics
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog
from syncserver.storage.statistics import Run, Standing
from tests.engine.reader import BEGIN, NOW, ZONES, Reader, Save, Session, current, local_day, longest, seconds

ADA, BEN = "user:ada", "user:ben"
_owners = count()
HOUR = 3600


@pytest.fixture
async def door(server: Database, catalog: Catalog) -> AsyncIterator[Push]:
    """The write door; it is the last of March, noon."""
    push = Push(server, catalog, lambda: NOW)
    task = asyncio.create_task(push.run())
    yield push
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def verb(server: Database) -> Statistics:
    return Statistics(server, lambda: NOW)


async def lived(door: Push, reader: Reader, owner: str = ADA) -> None:
    """Every write of the reader, in order, through the write door."""
    acks = [
        asyncio.create_task(door.push(Sender(owner, Device(device), device), [raw]))
        for device, raw in reader.mutations()
    ]
    assert {ack["status"] for found in await asyncio.gather(*acks) for ack in found} <= {"applied", "merged"}


def read(publication: str, hour: float, active_s: int, *, pages: int = 0, permille: int = 0, **more: Any) -> Session:
    """A session that begins so many hours after the 27th of March, UTC, and is saved once, at its end."""
    return Session(publication, int(hour * HOUR), [Save(active_s, active_s, pages, permille)], **more)


# -- the law -----------------------------------------------------------------

_saves = st.builds(
    Save,
    after_s=st.sampled_from([1, 40, 600, 901, 3600, 7200]),
    active_s=st.sampled_from([0, 3, 60, 600, 5400]),
    pages=st.sampled_from([0, 1, 40]),
    permille=st.sampled_from([0, 7, 50]),
    device=st.sampled_from(["phone", "tablet", "reader"]),
)
_sessions = st.builds(
    Session,
    publication=st.sampled_from(["emma", "moby"]),
    begins_s=st.integers(0, 80 * 4).map(lambda quarter: quarter * 900 + quarter % 7 * 111),
    saves=st.lists(_saves, min_size=1, max_size=5),
    finished=st.booleans(),
)
_readers = st.builds(Reader, st.lists(_sessions, min_size=1, max_size=5, unique_by=lambda session: session.ends))
_days = st.tuples(st.integers(26, 31), st.integers(0, 5)).map(
    lambda found: (date(2026, 3, found[0]), date(2026, 3, found[0]) + timedelta(days=found[1]))
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reader=_readers, zone=st.sampled_from(ZONES), days=_days)
async def test_every_figure_is_what_counting_seconds_says(
    door: Push, verb: Statistics, reader: Reader, zone: str, days: tuple[date, date]
):
    owner = f"user:reader {next(_owners)}"
    await lived(door, reader, owner)
    compare(await verb.of(owner, zone, first=days[0], last=days[1]), reader, zone, days)
    alone = Reader([session for session in reader.sessions if session.publication == "moby"])
    compare(await verb.of(owner, zone, first=days[0], last=days[1], publication_id="moby"), alone, zone, days)


def compare(found: StatsAnswer, reader: Reader, zone: str, days: tuple[date, date]) -> None:
    every = reader.days(zone)
    wanted = {day: spent for day, spent in every.items() if days[0] <= day <= days[1]}
    assert (found.from_, found.to, found.time_zone) == (*days, zone)
    assert {day.date: (day.active_seconds, day.pages) for day in found.days} == wanted
    assert [day.date for day in found.days] == list(wanted)
    assert found.active_seconds == sum(spent for spent, _ in wanted.values())
    assert found.pages == sum(pages for _, pages in wanted.values())
    assert found.readings == sum(days[0] <= day <= days[1] for day in reader.finished(zone))
    today = local_day(seconds(NOW), zone)
    assert found.streak.longest_days == longest(list(every))
    assert found.streak.current_days == current(list(every), today)
    for one in found.publications:
        compare_publication(one, reader, zone, days)
    latest = [reader.latest(one.publication_id, zone, days) for one in found.publications]
    assert latest == sorted(latest, reverse=True)
    assert {one.publication_id for one in found.publications} == {
        name for name in ("emma", "moby") if was_read(reader, name, zone, days)
    }
    assert found.publications_left_out == 0


def was_read(reader: Reader, publication: str, zone: str, days: tuple[date, date]) -> bool:
    touched = [*reader.days(zone, publication), *reader.finished(zone, publication)]
    return any(days[0] <= day <= days[1] for day in touched)


def compare_publication(one: PublicationRead, reader: Reader, zone: str, days: tuple[date, date]) -> None:
    name = one.publication_id
    wanted = [spent for day, spent in reader.days(zone, name).items() if days[0] <= day <= days[1]]
    assert one.active_seconds == sum(spent for spent, _ in wanted)
    assert one.pages == sum(pages for _, pages in wanted)
    assert one.readings == sum(days[0] <= day <= days[1] for day in reader.finished(zone, name))
    assert one.title == f"On {name}"
    newest, pace = reader.newest(name), reader.pace(name)
    assert one.percentage == newest.permille / 1000
    assert one.pace_per_hour == (None if pace is None else pytest.approx(pace))
    if pace is None or newest.finished:
        assert one.seconds_left is None
    else:
        assert one.seconds_left == pytest.approx((1 - newest.permille / 1000) / pace * 3600, abs=1)


# -- by example --------------------------------------------------------------


async def test_who_never_read_is_told_so(verb: Statistics):
    found = await verb.of(ADA)
    assert found.model_dump(mode="json", by_alias=True) == {
        "time_zone": "UTC",
        "from": "2025-03-31",
        "to": "2026-03-31",
        "days": [],
        "active_seconds": 0,
        "pages": 0,
        "publications": [],
        "publications_left_out": 0,
        "streak": {"current_days": 0, "longest_days": 0},
        "readings": 0,
    }


async def test_what_two_devices_read_at_once_counts_once_and_for_either_book(door: Push, verb: Statistics):
    await lived(door, Reader([read("emma", 10, 1800), read("emma", 10.25, 1800), read("moby", 10.5, 1800)]))
    found = await verb.of(ADA)
    assert found.active_seconds == 3600
    assert {one.publication_id: one.active_seconds for one in found.publications} == {"emma": 2700, "moby": 1800}


async def test_a_night_belongs_to_two_days_and_which_depends_on_where_the_reader_is(door: Push, verb: Statistics):
    await lived(door, Reader([read("emma", 23.5, 3600)]))
    for zone, wanted in {
        "UTC": {27: 1800, 28: 1800},
        "Asia/Kolkata": {28: 3600},
        "America/St_Johns": {27: 3600},
        "Pacific/Chatham": {28: 3600},
    }.items():
        assert {day.date.day: day.active_seconds for day in (await verb.of(ADA, zone)).days} == wanted


async def test_the_day_of_a_change_to_summer_has_23_hours(door: Push, verb: Statistics):
    await lived(door, Reader([read("emma", 24 + 24 * day, 24 * HOUR) for day in range(3)]))
    found = await verb.of(ADA, "Europe/Berlin")
    assert {day.date.day: day.active_seconds // HOUR for day in found.days} == {28: 23, 29: 23, 30: 24, 31: 2}


async def test_an_hour_that_comes_twice_at_midnight_is_of_its_day_both_times(verb: Statistics, sql: psycopg.Connection):
    """In Havana clocks go from 1:00 back to 0:00, so a day may begin twice."""
    for quarter in ("2025-11-02 04:00Z", "2025-11-02 05:00Z"):
        add(sql, ADA, datetime.fromisoformat(quarter))
    found = await verb.of(ADA, "America/Havana", first=date(2025, 11, 2), last=date(2025, 11, 2))
    assert found.active_seconds == 1800


async def test_the_pace_of_a_second_reading_is_its_own(door: Push, verb: Statistics):
    first = read("emma", 1, 2 * HOUR + 300, permille=500, finished=True)  # in the middle of a quarter
    again = read("emma", 10, HOUR, permille=100)
    await lived(door, Reader([first, again]))
    (found,) = (await verb.of(ADA)).publications
    assert found.pace_per_hour == pytest.approx(0.1)
    assert found.seconds_left == 9 * HOUR
    assert (found.percentage, found.readings) == (0.1, 1)


async def test_a_publication_without_a_session_stands_where_its_progress_says(
    verb: Statistics, sql: psycopg.Connection
):
    add(sql, ADA, BEGIN)
    assert [one.percentage for one in (await verb.of(ADA)).publications] == [None]
    sql.execute("INSERT INTO reading_progress (owner, publication_id, percentage) VALUES (%s, 'moby', 0.75)", [ADA])
    (found,) = (await verb.of(ADA)).publications
    assert (found.percentage, found.pace_per_hour, found.seconds_left) == (0.75, 0.04, 22_500)
    sql.execute("UPDATE reading_progress SET status = 'finished'")
    (found,) = (await verb.of(ADA)).publications
    assert (found.percentage, found.seconds_left) == (0.75, None)


async def test_only_the_most_recent_publications_are_listed_and_all_count(
    verb: Statistics, sql: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(statistics, "PUBLICATIONS_MAX", 3)
    for hour in range(5):
        add(sql, ADA, BEGIN + timedelta(hours=hour), f"book {hour}")
    found = await verb.of(ADA)
    assert [one.publication_id for one in found.publications] == ["book 4", "book 3", "book 2"]
    assert (found.publications_left_out, found.active_seconds) == (2, 5 * 900)


async def test_another_s_reading_is_not_counted(door: Push, verb: Statistics):
    await lived(door, Reader([read("emma", 1, HOUR, pages=10, permille=100, finished=True)]), BEN)
    assert (await verb.of(ADA)) == (await verb.of("user:nobody"))
    assert (await verb.of(BEN)).readings == 1


async def test_what_is_deleted_was_read_all_the_same(door: Push, verb: Statistics, sql: psycopg.Connection):
    await lived(door, Reader([read("emma", 1, HOUR)]))
    sql.execute("DELETE FROM reading_sessions")
    assert (await verb.of(ADA)).active_seconds == HOUR


def add(sql: psycopg.Connection, owner: str, quarter: datetime, publication: str = "moby") -> None:
    """A quarter of an hour in which a hundredth was read."""
    sql.execute(
        "INSERT INTO reading_times (owner, session_id, quarter, publication_id, active, pages, span) VALUES"
        " (%s, gen_random_uuid(), %s, %s, tstzmultirange(tstzrange(%s, %s)), '{}', '{[0.10,0.11)}')",
        [owner, quarter, publication, quarter, quarter + timedelta(minutes=15)],
    )


# -- what may be asked -------------------------------------------------------


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "Foo/Bar3", "Mars+3", "", "europe/berlin", "UTC; DROP TABLE readings"]
)
async def test_a_zone_that_the_database_does_not_know_is_refused(verb: Statistics, zone: str):
    with pytest.raises(Invalid) as error:
        await verb.of(ADA, zone)
    assert [one["pointer"] for one in error.value.errors] == ["/query/time_zone"]


@pytest.mark.parametrize(
    ("first", "last", "wanted"),
    [
        (None, None, (date(2025, 3, 31), date(2026, 3, 31))),
        (None, date(2026, 1, 1), (date(2025, 1, 1), date(2026, 1, 1))),
        (date(2026, 3, 31), None, (date(2026, 3, 31), date(2026, 3, 31))),
        (None, date.min, (date.min, date.min)),
        (None, date.max, (date.max - timedelta(days=365), date.max)),
    ],
)
async def test_days_that_are_left_out(verb: Statistics, first: date, last: date, wanted: tuple[date, date]):
    found = await verb.of(ADA, first=first, last=last)
    assert (found.from_, found.to) == wanted


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(2026, 4, 1), None),
        (date(2026, 2, 2), date(2026, 2, 1)),
        (date(2016, 1, 1), date(2026, 1, 8)),
        (date.min, date.max),
    ],
)
async def test_days_that_are_none_or_too_many_are_refused(verb: Statistics, first: date, last: date):
    with pytest.raises(Invalid) as error:
        await verb.of(ADA, first=first, last=last)
    assert [one["pointer"] for one in error.value.errors] == ["/query/from"]


async def test_today_is_the_reader_s(server: Database):
    late = Statistics(server, lambda: datetime(2026, 3, 31, 23, 30, tzinfo=UTC))
    assert (await late.of(ADA)).to == date(2026, 3, 31)
    assert (await late.of(ADA, "Asia/Kolkata")).to == date(2026, 4, 1)


async def test_without_a_database_it_says_so(tmp_path):
    away = Database(f"postgresql:///any?host={tmp_path}")
    with pytest.raises(Unavailable):
        await Statistics(away, lambda: NOW).of(ADA)
    await away.close()


# -- the pure parts ----------------------------------------------------------


@pytest.mark.parametrize(
    ("runs", "current_days", "longest_days"),
    [
        ([], 0, 0),
        ([("03-31", 3)], 3, 3),
        ([("03-30", 3)], 3, 3),
        ([("03-29", 3)], 0, 3),
        ([("02-01", 9), ("03-30", 2)], 2, 9),
        ([("04-01", 2)], 2, 2),
    ],
)
def test_a_streak_goes_on_as_long_as_today_is_not_over(
    runs: list[tuple[str, int]], current_days: int, longest_days: int
):
    found = statistics.streak([Run(date.fromisoformat(f"2026-{day}"), days) for day, days in runs], NOW.date())
    assert (found.current_days, found.longest_days) == (current_days, longest_days)


@pytest.mark.parametrize(
    ("standing", "pace", "left"),
    [
        (Standing("a", None, "active", 0.5, 0.1, 3600), 0.1, 5 * 3600),
        (Standing("a", None, "completed", 0.5, 0.1, 3600), 0.1, None),
        (Standing("a", None, "active", None, 0.1, 3600), 0.1, None),
        (Standing("a", None, "active", 0.5, None, 3600), None, None),
        (Standing("a", None, "active", 0.5, None, None), None, None),
        (Standing("a", None, "active", 1.0, 0.1, 1800), 0.2, 0),
    ],
)
def test_pace_and_what_is_left(standing: Standing, pace: float | None, left: int | None):
    assert statistics.pace_per_hour(standing) == pace
    assert statistics.seconds_left(standing, pace) == left
