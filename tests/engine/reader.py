"""A reader whose seconds are counted one by one: saves as clients push them, and what plain arithmetic says of them.

Time zones are written out for the days in question, so that nothing here asks the database or a table of zones.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

BEGIN = datetime(2026, 3, 27, tzinfo=UTC)
NOW = datetime(2026, 3, 31, 12, 0, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SUMMER = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
_OFFSETS = {"UTC": 0, "Asia/Kolkata": 330, "America/St_Johns": -150, "Pacific/Chatham": 825}
ZONES = ("Europe/Berlin", *_OFFSETS)
_QUARTER = 900

Raw = dict[str, Any]


def seconds(moment: datetime) -> int:
    return int((moment - _EPOCH).total_seconds())


def moment(second: float) -> datetime:
    return _EPOCH + timedelta(seconds=second)


def local_day(second: int, zone: str) -> date:
    berlin = 120 if moment(second) >= _SUMMER else 60
    minutes = berlin if zone == "Europe/Berlin" else _OFFSETS[zone]
    return moment(second + minutes * 60).date()


@dataclass(frozen=True)
class Save:
    """`after_s` after the one before, in which `active_s` were spent reading, and so far did that lead."""

    after_s: int
    active_s: int
    pages: int
    permille: int
    device: str = "phone"


@dataclass
class Session:
    """Saves of a publication from a moment on; the last of them may finish it."""

    publication: str
    begins_s: int
    saves: list[Save]
    finished: bool = False
    id: str = field(default_factory=lambda: str(uuid4()))

    def mutations(self) -> Iterator[tuple[int, str, Raw]]:
        """Each write with its second and its device."""
        at, active, page, permille = seconds(BEGIN) + self.begins_s, 0, 1, 0
        yield at, "phone", self._mutation("put", at, self._fields(at, 0, page, permille))
        for number, save in enumerate(self.saves, 1):
            at, active = at + save.after_s, active + save.active_s
            page, permille = page + save.pages, min(permille + save.permille, 1000)
            op = "complete" if self.finished and number == len(self.saves) else "patch"
            yield at, save.device, self._mutation(op, at, self._fields(at, active, page, permille))

    def _fields(self, at: int, active: int, page: int, permille: int) -> Raw:
        locator = {"href": "a.xhtml", "type": "application/xhtml+xml", "locations": {"position": page}}
        told = {"last_activity": moment(at).isoformat(), "locator": locator, "percentage": permille / 1000}
        return {"publication_id": self.publication, "title": f"On {self.publication}", "active_seconds": active, **told}

    def _mutation(self, op: str, at: int, data: Raw) -> Raw:
        began = {"started_at": data["last_activity"]} if op == "put" else {}
        return {
            "mutation_id": str(uuid4()),
            "resource": "reading_sessions",
            "key": self.id,
            "op": op,
            "updated_at": moment(at).isoformat(),
            "data": {**data, **began},
        }

    # -- the arithmetic ------------------------------------------------------

    @property
    def ends(self) -> int:
        return seconds(BEGIN) + self.begins_s + sum(save.after_s for save in self.saves)

    @property
    def permille(self) -> int:
        return min(sum(save.permille for save in self.saves), 1000)

    def steps(self) -> Iterator[tuple[set[int], set[int], set[int]]]:
        """The seconds, pages and thousandths of each save: nobody reads before the session began."""
        at, active, told, page, permille = seconds(BEGIN) + self.begins_s, 0, 0, 1, 0
        for save in self.saves:
            at, told = at + save.after_s, told + save.active_s
            counted = max(active, min(told, at - seconds(BEGIN) - self.begins_s))
            spent, active = counted - active, counted
            to = min(permille + save.permille, 1000)
            if spent:
                pages = range(page, page + save.pages) if save.pages <= spent else ()
                span = range(permille, to) if to - permille <= spent * 10 else ()
                yield set(range(at - spent, at)), set(pages), set(span)
            page, permille = page + save.pages, to

    def quarters(self) -> Iterator[tuple[set[int], set[int]]]:
        """The seconds in each quarter of an hour, and the thousandths of the steps that ended there."""
        during: dict[int, set[int]] = defaultdict(set)
        way: dict[int, set[int]] = defaultdict(set)
        for spent, _, span in self.steps():
            for second in spent:
                during[second // _QUARTER].add(second)
            way[max(spent) // _QUARTER] |= span
        return ((found, way[quarter]) for quarter, found in during.items())


@dataclass
class Reader:
    """All sessions of one reader."""

    sessions: list[Session]

    def mutations(self) -> list[tuple[str, Raw]]:
        """All writes in the order of their time, as one would send them: (device, mutation)."""
        every = [found for session in self.sessions for found in session.mutations()]
        return [(device, raw) for _, device, raw in sorted(every, key=lambda found: found[0])]

    def days(self, zone: str, publication: str | None = None) -> dict[date, tuple[int, int]]:
        """Of each local day its seconds and pages."""
        spent: dict[date, set[int]] = defaultdict(set)
        pages: dict[date, set[tuple[str, int]]] = defaultdict(set)
        for session in self._of(publication):
            for during, seen, _ in session.steps():
                for second in during:
                    spent[local_day(second, zone)].add(second)
                pages[local_day(max(during), zone)] |= {(session.publication, page) for page in seen}
        return {day: (len(spent[day]), len(pages[day])) for day in sorted(spent)}

    def finished(self, zone: str, publication: str | None = None) -> list[date]:
        """The local day of each finished reading."""
        return [local_day(session.ends, zone) for session in self._of(publication) if session.finished]

    def newest(self, publication: str) -> Session:
        return max(self._of(publication), key=lambda session: session.ends)

    def latest(self, publication: str, zone: str, days: tuple[date, date]) -> int:
        """When something was last read or finished in these days."""
        found = [s.ends for s in self._of(publication) if s.finished and days[0] <= local_day(s.ends, zone) <= days[1]]
        for session in self._of(publication):
            found += [
                second + 1
                for step in session.steps()
                for second in step[0]
                if days[0] <= local_day(second, zone) <= days[1]
            ]
        return max(found)

    def pace(self, publication: str) -> float | None:
        """Which part an hour brings, since the last time that it was finished."""
        done = max((s for s in self._of(publication) if s.finished), key=lambda s: s.ends, default=None)
        spent: set[int] = set()
        way: set[int] = set()
        for session in self._of(publication):
            for during, span in session.quarters():
                if done is None or (session is not done and max(during) + 1 > done.ends):
                    spent |= during
                    way |= span
        return len(way) / 1000 / len(spent) * 3600 if way else None

    def _of(self, publication: str | None) -> list[Session]:
        return [session for session in self.sessions if publication in {None, session.publication}]


def longest(days: list[date]) -> int:
    """How many of these days follow each other at most."""
    best = run = 0
    for day in sorted(days):
        run = run + 1 if day - timedelta(days=1) in days else 1
        best = max(best, run)
    return best


def current(days: list[date], today: date) -> int:
    """How many of them follow each other up to today or yesterday."""
    day = today if today in days else today - timedelta(days=1)
    run = 0
    while day in days:
        run, day = run + 1, day - timedelta(days=1)
    return run
