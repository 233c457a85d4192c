"""A week of a reader's life on three devices and a kiosk, played against a real server: see week_story.py.

After each act every device that has a network holds the same rows; at the end all hold what plain arithmetic says.
"""

from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.e2e.week_arithmetic import Week
from tests.e2e.week_devices import STATES, Gadget, Kiosk, Rows, devices
from tests.e2e.week_story import BEGINNING, PAGES, STORY, ZONE, Act, key, writes
from tests.harness import Live


def test_the_story_has_every_transport_and_all_that_can_happen():
    assert {*BEGINNING.values(), *(act.over for act in STORY if act.over)} == set(STATES)
    verbs = {"begin", "read", "note", "pause", "resume", "complete", "abandon", "tell", "lose", "back"}
    assert {act.verb for act in STORY} == verbs
    assert [act for act in STORY if act.former], "nobody goes on elsewhere"


@pytest.mark.parametrize("begun", [None, date(2025, 10, 20)], ids=["the last week", "the clocks go back"])
async def test_a_week_ends_everywhere_as_plain_arithmetic_says(live: Live, tmp_path: Path, begun: date | None):
    first = begun or datetime.now(ZoneInfo(ZONE)).date() - timedelta(days=7)
    week = Week()
    async with devices(live, tmp_path, BEGINNING) as (gadgets, kiosk):
        for act in STORY:
            await _played(act, first, gadgets, kiosk)
            _reckoned(week, act, first)
        rows = await kiosk.follow()
        for gadget in gadgets.values():
            await gadget.holds(rows)
            assert await gadget.client.verify()
        told = await kiosk.statistics(time_zone=ZONE, **{"from": first.isoformat()})

    assert _sessions(rows) == _expected_sessions(week)
    assert _events(rows) == _expected_events(week)
    assert _readings(rows) == _expected_readings(week)
    assert _finished(rows) == {reading.publication for reading in week.readings}
    assert _statistics(told) == week.statistics(date.fromisoformat(told["to"]))
    left = {one["publication_id"]: one["seconds_left"] for one in told["publications"]}
    assert left["moby"] is left["emma"] is left["zoo"] is None
    assert left["persuasion"] == pytest.approx(week.seconds_left("persuasion"), abs=1)
    assert left["walden"] == pytest.approx(week.seconds_left("walden"), abs=1)


async def _played(act: Act, first: date, gadgets: dict[str, Gadget], kiosk: Kiosk) -> None:
    if act.verb == "lose":
        gadgets[act.device].lose()
    elif act.verb == "back":
        await gadgets[act.device].back(act.over)
    else:
        device = kiosk if act.device == kiosk.name else gadgets[act.device]
        for write in writes(act, first):
            await device.write(write)
            if device is kiosk:
                await kiosk.follow()
    rows = await kiosk.follow()
    for gadget in gadgets.values():
        if not gadget.away:
            await gadget.holds(rows)


def _reckoned(week: Week, act: Act, first: date) -> None:
    if act.verb in {"lose", "back"}:
        getattr(week, act.verb)(act.device)
        return
    for write in writes(act, first):
        week.write(write)


# -- what the devices hold, and what they must -----------------------------------------------------------------------


def _second(stamp: str | None) -> int | None:
    return None if stamp is None else int(datetime.fromisoformat(stamp).timestamp())


def _of(rows: Rows, resource: str) -> list[dict[str, Any]]:
    return [row for (name, _), row in rows.items() if name == resource]


def _sessions(rows: Rows) -> dict[str, tuple[Any, ...]]:
    return {
        row["id"]: (
            row["publication_id"],
            row["status"],
            row["device_id"],
            row["active_seconds"],
            row["percentage"],
            row["resumed_from"],
            row["resumed_as"],
            *map(_second, (row["started_at"], row["last_activity"], row["completed_at"])),
        )
        for row in _of(rows, "reading_sessions")
    }


def _expected_sessions(week: Week) -> dict[str, tuple[Any, ...]]:
    return {
        key(name): (
            one.publication,
            one.status,
            one.device,
            one.active,
            one.page / PAGES[one.publication],
            key(one.former) if one.former else None,
            key(one.resumed_as) if one.resumed_as else None,
            one.started,
            one.last,
            one.completed,
        )
        for name, one in week.sessions.items()
    }


def _events(rows: Rows) -> Counter[tuple[str, str]]:
    return Counter((row["session_id"], row["type"]) for row in _of(rows, "session_events"))


def _expected_events(week: Week) -> Counter[tuple[str, str]]:
    return Counter({(key(name), kind): n for name, one in week.sessions.items() for kind, n in one.events.items() if n})


def _readings(rows: Rows) -> set[tuple[Any, ...]]:
    return {
        (
            row["session_id"],
            row["publication_id"],
            row["ordinal"],
            _second(row["started_at"]),
            _second(row["finished_at"]),
            row["active_seconds"],
            row["session"]["id"],
            row["session"]["status"],
        )
        for row in _of(rows, "readings")
    }


def _expected_readings(week: Week) -> set[tuple[Any, ...]]:
    return {
        (key(r.session), r.publication, r.ordinal, r.started, r.finished, r.active, key(r.session), "completed")
        for r in week.readings
    }


def _finished(rows: Rows) -> set[str]:
    found = _of(rows, "progress")
    assert {(row["status"], row["percentage"]) for row in found} == {("finished", 1.0)}
    return {row["publication_id"] for row in found}


def _statistics(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "days": {date.fromisoformat(day["date"]): (day["active_seconds"], day["pages"]) for day in told["days"]},
        "active_seconds": told["active_seconds"],
        "pages": told["pages"],
        "publications": {
            one["publication_id"]: (one["active_seconds"], one["pages"], one["percentage"], one["readings"])
            for one in told["publications"]
        },
        "current": told["streak"]["current_days"],
        "longest": told["streak"]["longest_days"],
        "readings": told["readings"],
    }
