"""A week of a reader's life as a table: what happened when, on which device; and the same in single writes.

Days count from the first; clocks are those on the walls of Berlin. Nothing here knows a server.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

ZONE = "Europe/Berlin"
SAVE_EVERY = timedelta(minutes=10)
PAGES = {"moby": 300, "emma": 200, "zoo": 100, "persuasion": 240, "walden": 120}


@dataclass(frozen=True, slots=True)
class Act:
    """`verb`: begin, read, note, pause, resume, complete, abandon; tell; lose and back (the network, by `over`).

    `pages`: where the reader is before and after. `former`: the session that a new one goes on from. `times`: when was
    read, in a session that is told when it is over.
    """

    day: int
    clock: str
    device: str
    verb: str
    session: str = ""
    minutes: int = 0
    pages: tuple[int, int] | None = None
    former: str = ""
    over: str = ""
    times: tuple[tuple[str, str], ...] = ()

    @property
    def publication(self) -> str:
        """A session is called by its publication and a number."""
        return self.session.partition("-")[0]


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a session at a moment. `seconds`: of reading since the one before; `pages`: from which to which.

    `times`: all times of a session that is told when it is over.
    """

    device: str
    verb: str
    session: str
    at: datetime
    seconds: int = 0
    pages: tuple[int, int] | None = None
    former: str = ""
    times: tuple[tuple[datetime, datetime], ...] = ()

    @property
    def publication(self) -> str:
        """Of the session."""
        return self.session.partition("-")[0]


BEGINNING = {"phone": "socket", "tablet": "stream", "e-reader": "long-poll"}
"""How the devices with a client reach the server at first. The kiosk speaks plain HTTP."""

STORY = (
    # The first day: begun on the way to work, gone on with at home.
    Act(0, "07:30", "phone", "begin", "moby-1", pages=(1, 1)),
    Act(0, "07:30", "phone", "read", "moby-1", minutes=25, pages=(1, 31)),
    Act(0, "07:55", "phone", "pause", "moby-1"),
    Act(0, "20:00", "tablet", "begin", "moby-2", former="moby-1"),
    Act(0, "20:00", "tablet", "read", "moby-2", minutes=45, pages=(31, 80)),
    Act(0, "20:45", "tablet", "pause", "moby-2"),
    # The phone loses the network and goes on; the tablet goes on too, from where the phone was last heard of.
    Act(1, "07:30", "phone", "begin", "moby-3", former="moby-2"),
    Act(1, "07:30", "phone", "read", "moby-3", minutes=20, pages=(80, 100)),
    Act(1, "07:50", "phone", "lose"),
    Act(1, "07:50", "phone", "read", "moby-3", minutes=15, pages=(100, 115)),
    Act(1, "07:55", "tablet", "begin", "moby-4", former="moby-3"),
    Act(1, "07:55", "tablet", "read", "moby-4", minutes=30, pages=(100, 125)),
    Act(1, "08:25", "tablet", "pause", "moby-4"),
    Act(1, "09:00", "phone", "back", over="long-poll"),
    # An evening in bed without a network, past midnight.
    Act(1, "23:30", "e-reader", "lose"),
    Act(1, "23:40", "e-reader", "begin", "emma-1", pages=(1, 1)),
    Act(1, "23:40", "e-reader", "read", "emma-1", minutes=50, pages=(1, 51)),
    Act(2, "00:30", "e-reader", "pause", "emma-1"),
    Act(2, "08:00", "e-reader", "back", over="poll"),
    Act(2, "12:00", "e-reader", "resume", "emma-1"),
    Act(2, "12:00", "e-reader", "read", "emma-1", minutes=30, pages=(51, 90)),
    Act(2, "12:30", "e-reader", "pause", "emma-1"),
    Act(2, "18:00", "kiosk", "begin", "moby-5", former="moby-4"),
    Act(2, "18:00", "kiosk", "read", "moby-5", minutes=60, pages=(125, 230)),
    # Two devices at the very same session, one of them away: the later stamp holds, and no second counts twice.
    Act(3, "07:00", "phone", "lose"),
    Act(3, "07:30", "phone", "read", "moby-5", minutes=20, pages=(230, 250)),
    Act(3, "07:35", "kiosk", "read", "moby-5", minutes=20, pages=(230, 260)),
    Act(3, "20:00", "e-reader", "begin", "moby-6", former="moby-5"),
    Act(3, "20:00", "e-reader", "read", "moby-6", minutes=60, pages=(260, 300)),
    Act(3, "21:00", "e-reader", "complete", "moby-6", pages=(300, 300)),
    Act(3, "21:30", "phone", "back", over="socket"),
    # A day without a book. Then the same one again.
    Act(5, "10:00", "phone", "begin", "moby-7", pages=(1, 1)),
    Act(5, "10:00", "phone", "read", "moby-7", minutes=60, pages=(1, 120)),
    Act(5, "11:00", "phone", "pause", "moby-7"),
    Act(5, "15:00", "tablet", "begin", "zoo-1", pages=(1, 1)),
    Act(5, "15:00", "tablet", "read", "zoo-1", minutes=10, pages=(1, 5)),
    Act(5, "15:10", "tablet", "abandon", "zoo-1"),
    Act(5, "16:00", "tablet", "lose"),
    Act(5, "16:30", "tablet", "begin", "persuasion-1", pages=(1, 1)),
    Act(5, "16:30", "tablet", "read", "persuasion-1", minutes=90, pages=(1, 61)),
    Act(5, "18:00", "tablet", "pause", "persuasion-1"),
    # Finished without a network, while the phone touched the same session later: what is completed is completed.
    Act(5, "20:00", "e-reader", "lose"),
    Act(5, "20:30", "e-reader", "resume", "emma-1"),
    Act(5, "20:30", "e-reader", "read", "emma-1", minutes=60, pages=(90, 200)),
    Act(5, "21:30", "e-reader", "complete", "emma-1", pages=(200, 200)),
    Act(5, "22:00", "phone", "note", "emma-1"),
    Act(6, "08:00", "phone", "resume", "moby-7"),
    Act(6, "08:00", "phone", "read", "moby-7", minutes=40, pages=(120, 300)),
    Act(6, "08:40", "phone", "complete", "moby-7", pages=(300, 300)),
    Act(6, "09:00", "e-reader", "back", over="socket"),
    # Too late: the kiosk did not know that it was finished.
    Act(6, "10:00", "kiosk", "read", "moby-7", minutes=10, pages=(20, 40)),
    Act(6, "12:00", "kiosk", "begin", "walden-1", pages=(1, 1)),
    Act(6, "12:00", "kiosk", "read", "walden-1", minutes=20, pages=(1, 13)),
    Act(6, "13:00", "kiosk", "begin", "zoo-2", pages=(5, 5)),
    Act(6, "13:00", "kiosk", "read", "zoo-2", minutes=30, pages=(5, 100)),
    Act(6, "13:30", "kiosk", "complete", "zoo-2", pages=(100, 100)),
    Act(6, "20:00", "tablet", "back", over="poll"),
    # Two books at once, a minute of which is still a minute; the one is told when it is over.
    Act(6, "20:40", "tablet", "resume", "persuasion-1"),
    Act(6, "20:40", "tablet", "read", "persuasion-1", minutes=25, pages=(61, 80)),
    Act(6, "21:20", "kiosk", "tell", "walden-2", pages=(13, 30), times=(("20:30", "20:50"), ("21:00", "21:15"))),
)


def key(session: str) -> str:
    """The id under which a session of the table is synced."""
    return str(uuid5(NAMESPACE_URL, session))


def moment(first: date, day: int, clock: str) -> datetime:
    """When the clocks of Berlin show this."""
    return datetime.combine(first + timedelta(days=day), time.fromisoformat(clock), ZoneInfo(ZONE))


def writes(act: Act, first: date) -> Iterator[Write]:
    """The single writes of an act: who reads is saved every few minutes, on the way from page to page."""
    start = moment(first, act.day, act.clock)
    if act.verb != "read":
        times = tuple((moment(first, act.day, since), moment(first, act.day, until)) for since, until in act.times)
        yield Write(act.device, act.verb, act.session, start, 0, act.pages, act.former, times)
        return
    whole, (page, last) = timedelta(minutes=act.minutes), act.pages or (0, 0)
    passed = timedelta()
    while passed < whole:
        until = min(passed + SAVE_EVERY, whole)
        reached = page + round((last - page) * ((until - passed) / (whole - passed)))
        seconds = int((until - passed).total_seconds())
        # by way of UTC: between two points of it lies what has passed, whatever the clocks on the walls did
        at = (start.astimezone(ZoneInfo("UTC")) + until).astimezone(ZoneInfo(ZONE))
        yield Write(act.device, "read", act.session, at, seconds, (page, reached))
        passed, page = until, reached
