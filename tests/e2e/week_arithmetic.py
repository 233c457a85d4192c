"""What must come out of a week: seconds and pages in sets, a few rules for who holds, and nothing else.

Written from docs/reading.md and docs/statistics.md, not from the server: times are whole seconds since 1970.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.e2e.week_story import PAGES, ZONE, Write

_ENDS = {"pause": "paused", "resume": "active", "complete": "completed", "abandon": "abandoned"}


@dataclass
class Session:
    """A reading session as it must be; `seconds`: those that were read in it, `active`: how many it counts."""

    publication: str
    device: str
    started: int
    last: int
    page: int
    former: str = ""
    status: str = "active"
    active: int = 0
    completed: int | None = None
    resumed_as: str = ""
    stamp: int = 0
    version: int = 0
    seconds: set[int] = field(default_factory=set)
    events: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Reading:
    """A read-through as it must be."""

    session: str
    publication: str
    ordinal: int
    started: int
    finished: int
    active: int


@dataclass(frozen=True)
class _Known:
    """What a device knew of the sessions when it lost the network, and its writes since then."""

    versions: dict[str, int]
    active: dict[str, int]
    waiting: list[tuple[Write, int]] = field(default_factory=list)


@dataclass
class Week:
    """All sessions by name, and what they became."""

    sessions: dict[str, Session] = field(default_factory=dict)
    readings: list[Reading] = field(default_factory=list)
    pages: dict[tuple[date, str], set[int]] = field(default_factory=dict)
    _away: dict[str, _Known] = field(default_factory=dict)

    def lose(self, device: str) -> None:
        """From now on nothing reaches this device, and nothing comes of it."""
        self._away[device] = _Known(
            {name: session.version for name, session in self.sessions.items()},
            {name: session.active for name, session in self.sessions.items()},
        )

    def back(self, device: str) -> None:
        """What it did meanwhile is done now."""
        known = self._away.pop(device)
        for one, total in known.waiting:
            self._write(one, total, known)

    def write(self, one: Write) -> None:
        """Something happened on a device."""
        known = self._away.get(one.device)
        if known is None:
            session = self.sessions.get(one.session)
            self._write(one, (session.active if session else 0) + one.seconds, None)
            return
        known.active[one.session] = known.active.get(one.session, 0) + one.seconds
        known.waiting.append((one, known.active[one.session]))

    def _write(self, one: Write, total: int, known: _Known | None) -> None:
        at = int(one.at.timestamp())
        if one.verb in {"begin", "tell"}:
            (self._begin if one.verb == "begin" else self._told)(one, at)
            return
        session = self.sessions[one.session]
        foreign = session.device != one.device
        if session.status == "completed":
            session.events["conflict"] += foreign
            return
        blind = foreign and known is not None and known.versions.get(one.session) != session.version
        session.events["conflict"] += blind
        holds = one.verb == "complete" or not blind or at > session.stamp
        self._spend(one, session, total, at, holds=holds)
        if holds:
            self._hold(one, session, at)

    def _begin(self, one: Write, at: int) -> None:
        page = one.pages[1] if one.pages else 0
        made = Session(one.publication, one.device, at, at, page, one.former, stamp=at)
        self.sessions[one.session] = made
        made.events["resumed" if one.former else "created"] += 1
        if one.former:
            former = self.sessions[one.former]
            made.page = former.page
            former.resumed_as = one.session
            former.status = "paused" if former.status == "active" else former.status
            former.version += 1
            former.events["moved"] += 1

    def _told(self, one: Write, at: int) -> None:
        """A whole session at once, which rests when it is told."""
        times = [(int(since.timestamp()), int(until.timestamp())) for since, until in one.times]
        seconds = {second for since, until in times for second in range(since, until)}
        start, page = one.pages or (0, 0)
        self.sessions[one.session] = Session(
            one.publication, one.device, times[0][0], times[-1][1], page, status="paused", stamp=at
        )
        told = self.sessions[one.session]
        told.active, told.seconds, told.events = len(seconds), seconds, Counter(created=1, paused=1)
        self._turn(times[0][1], one.publication, (start, page))

    def _turn(self, at: int, publication: str, pages: tuple[int, int]) -> None:
        """Pages that were read until then belong to the day on which their reader read the last second."""
        day = datetime.fromtimestamp(at - 1, ZoneInfo(ZONE)).date()
        self.pages.setdefault((day, publication), set()).update(range(*pages))

    def _spend(self, one: Write, session: Session, total: int, at: int, *, holds: bool) -> None:
        """The seconds since the save before; a counter that another device brought further counts what it lacks."""
        more = total - session.active
        if more > 0:
            session.seconds |= set(range(at - more, at))
            session.active = total
            self._turn(at, session.publication, one.pages or (0, 0))
            session.events["saved"] += not holds
        session.last = max(session.last, at if holds or more > 0 else session.last)

    def _hold(self, one: Write, session: Session, at: int) -> None:
        status = _ENDS.get(one.verb, session.status)
        changed = status != session.status
        session.events[("resumed" if status == "active" else status) if changed else "saved"] += 1
        session.status, session.device, session.stamp = status, one.device, max(at, session.stamp)
        session.page = one.pages[1] if one.pages else session.page
        session.version += 1
        if status == "completed":
            session.completed = at
            self._read_through(one.session, session)

    def _read_through(self, name: str, session: Session) -> None:
        chain = [session]
        while chain[-1].former:
            chain.append(self.sessions[chain[-1].former])
        ordinal = 1 + sum(reading.publication == session.publication for reading in self.readings)
        started = min(one.started for one in chain)
        active = len(set[int]().union(*(one.seconds for one in chain)))
        self.readings.append(Reading(name, session.publication, ordinal, started, session.completed or 0, active))

    # -- what a reader wants to know -------------------------------------------------------------------------------

    def statistics(self, today: date) -> dict[str, Any]:
        """As GET /stats has it, in Berlin: days and publications with time and pages, streaks, readings."""
        by_day: dict[date, set[int]] = {}
        for second in self._seconds():
            by_day.setdefault(datetime.fromtimestamp(second, ZoneInfo(ZONE)).date(), set()).add(second)
        runs = list(_runs(by_day))
        return {
            "days": {day: (len(found), self._pages(day=day)) for day, found in by_day.items()},
            "active_seconds": len(self._seconds()),
            "pages": self._pages(),
            "publications": {name: self._publication(name) for name in PAGES},
            "current": runs[-1][1] if runs[-1][0] >= today - timedelta(days=1) else 0,
            "longest": max(length for _, length in runs),
            "readings": len(self.readings),
        }

    def _seconds(self, publication: str = "") -> set[int]:
        of = [one for one in self.sessions.values() if publication in {"", one.publication}]
        return set[int]().union(*(one.seconds for one in of))

    def _pages(self, *, day: date | None = None, publication: str = "") -> int:
        return sum(
            len(found) for (when, of), found in self.pages.items() if day in {None, when} and publication in {"", of}
        )

    def _publication(self, name: str) -> tuple[int, int, float, int]:
        """Seconds, pages, percentage where it was read last, and readings."""
        newest = max((s for s in self.sessions.values() if s.publication == name), key=lambda session: session.last)
        finished = sum(reading.publication == name for reading in self.readings)
        return len(self._seconds(name)), self._pages(publication=name), newest.page / PAGES[name], finished

    def seconds_left(self, name: str) -> float:
        """Of a publication that was begun at its first page and never finished: at the pace so far."""
        page = max(session.page for session in self.sessions.values() if session.publication == name)
        return (PAGES[name] - page) / ((page - 1) / len(self._seconds(name)))


def _runs(days: Iterable[date]) -> Iterable[tuple[date, int]]:
    """Days in a row: the last of them and how many, in order."""
    last, length = date.min, 0
    for day in sorted(days):
        if length and day != last + timedelta(days=1):
            yield last, length
            length = 0
        last, length = day, length + 1
    if length:
        yield last, length
