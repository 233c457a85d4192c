"""Readers as a published KOReader trace shows them: their devices, clocks, books, and how they turn pages.

Pure: everything comes from a seeded `random.Random`, and what goes through the network is somebody else's business.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal
from uuid import UUID

DWELL_MU, DWELL_SIGMA, DWELL_MOST_S = 4.215, 0.885, 300.0
FORWARD, BACKWARD = 0.74, 0.08  # the rest are jumps
SESSION_MEDIAN, SESSION_SIGMA = 16, 0.8
DEVICES = {1: 0.45, 2: 0.35, 3: 0.15, 4: 0.05}
DOUBLED = 0.02
CLOCK_SIGMA_S, HOUR_OFF, ERA_OFF = 2.0, 0.02, 0.005
# What the trace does not tell; chosen so that devices often write without having heard of each other.
TRAVELS, LEAVES, RETURNS_USED, RETURNS_UNUSED = 0.6, 0.45, 0.6, 0.1
FLAPS = 0.03
SAME_BOOK, SAME_DEVICE, ON_TRAIN = 0.75, 0.15, 0.8
PAUSE_MEAN_S = 300.0  # between two sessions of a reader
PATCHED, LOCATED, STATED = 0.6, 0.15, 0.5

Kind = Literal["xpointer", "page", "cfi"]
Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Book:
    """A publication."""

    key: str
    pages: int


@dataclass(frozen=True, slots=True)
class Device:
    """An installation with a clock that is wrong by `clock_error`. `travels`: it is sometimes without a network."""

    id: str
    kind: Kind
    clock_error: timedelta
    travels: bool


@dataclass(frozen=True, slots=True)
class Reader:
    """One owner. `seed` is of the reader's own random numbers, so that no reader's walk depends on another's."""

    name: str
    seed: str
    devices: tuple[Device, ...]
    books: tuple[Book, ...]


@dataclass(frozen=True, slots=True)
class Session:
    """So many pages of one book on one device, at one sitting."""

    device: Device
    book: Book
    pages: int


@dataclass(frozen=True, slots=True)
class Step:
    """One write: where the reader is now."""

    op: Literal["put", "patch"]
    key: str
    fields: Fields


def population(count: int, seed: int, now: datetime, run: str = "") -> list[Reader]:
    """The readers of a run; the same for the same arguments. `run` sets their names apart from other runs'."""
    return [_reader(f"reader-{number:04}{run}", f"{seed}:{number}", now) for number in range(count)]


def _reader(name: str, seed: str, now: datetime) -> Reader:
    rng = Random(seed)
    count = rng.choices(list(DEVICES), list(DEVICES.values()))[0]
    devices = tuple(_device(rng, now) for _ in range(count))
    books = tuple(Book(f"book-{number}", rng.randint(20, 300)) for number in range(rng.randint(2, 5)))
    return Reader(name, f"{seed}:walk", devices, books)


def _device(rng: Random, now: datetime) -> Device:
    number = str(UUID(int=rng.getrandbits(128), version=4))
    kinds: list[Kind] = ["xpointer", "page", "cfi"]
    return Device(number, rng.choice(kinds), clock_error(rng, now), rng.random() < TRAVELS)


def clock_error(rng: Random, now: datetime) -> timedelta:
    """How far a device's clock is off: seconds mostly, some an hour, a few never set or set for another century."""
    error = timedelta(seconds=rng.gauss(0, CLOCK_SIGMA_S))
    kind = rng.random()
    if kind < ERA_OFF:
        return datetime(rng.choice((1970, 2099)), 1, 2, tzinfo=UTC) - now
    if kind < ERA_OFF + HOUR_OFF:
        return error + timedelta(hours=rng.choice((-1, 1)))
    return error


class Walk:
    """One reader's choices, one after the other."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._rng = Random(reader.seed)
        self._last: Session | None = None

    def session(self, away: Collection[str] = ()) -> Session:
        """The next sitting: mostly the same book, on any of the devices, often on one that is `away`."""
        device, book = self._rng.choice(self._reader.devices), self._rng.choice(self._reader.books)
        if self._last is not None and self._rng.random() < SAME_DEVICE:
            device = self._last.device
        elif self._rng.random() < ON_TRAIN:
            device = next((device for device in self._reader.devices if device.id in away), device)
        if self._last is not None and self._rng.random() < SAME_BOOK:
            book = self._last.book
        pages = round(self._rng.lognormvariate(math.log(SESSION_MEDIAN), SESSION_SIGMA))
        self._last = Session(device, book, max(1, pages))
        return self._last

    def toggled(self, away: Mapping[str, bool]) -> set[str]:
        """The devices that lose or find their network now. `away`: those without one, and whether they wrote since.

        One that wrote comes back soon, one that did not mostly stays away until it has: so both can have written
        before either hears of the other.
        """
        chances = {None: LEAVES, True: RETURNS_USED, False: RETURNS_UNUSED}
        travelling = [device.id for device in self._reader.devices if device.travels]
        return {name for name in travelling if self._rng.random() < chances[away.get(name)]}

    def dwell_s(self) -> float:
        """How long a page is looked at."""
        return min(DWELL_MOST_S, self._rng.lognormvariate(DWELL_MU, DWELL_SIGMA))

    def pause_s(self) -> float:
        """How long until the next sitting."""
        return self._rng.expovariate(1 / PAUSE_MEAN_S)

    def turn(self, book: Book, page: int) -> int:
        """The page after this one."""
        way = self._rng.random()
        if way < FORWARD:
            return min(book.pages, page + 1)
        if way < FORWARD + BACKWARD:
            return max(1, page - 1)
        return self._rng.randint(1, book.pages)

    def doubled(self) -> bool:
        """Whether an app sends this write twice."""
        return self._rng.random() < DOUBLED

    def flaps(self) -> bool:
        """Whether the answer to this write is lost with the socket, on a device that travels."""
        return self._rng.random() < FLAPS

    def step(self, session: Session, page: int, *, known: bool, anew: bool = False) -> Step:
        """The write of this page. `known`: the device has seen the row. `anew`: a finished book, from its beginning."""
        book, kind = session.book, session.device.kind
        fields = _place(book, page, kind)
        if anew:
            # The one field that only grows; whoever knows the row may set it back.
            return Step("put", book.key, {**fields, "status": "reading", "furthest": 0.0})
        if self._rng.random() < LOCATED:
            fields["locator"] = _locator(book, page)
        finished = page == book.pages
        if known and self._rng.random() < PATCHED:
            stated = finished or self._rng.random() < STATED
            return Step("patch", book.key, {**fields, "status": _status(finished=finished)} if stated else fields)
        return Step("put", book.key, {**fields, "status": _status(finished=finished)})


def _status(*, finished: bool) -> str:
    return "finished" if finished else "reading"


def _place(book: Book, page: int, kind: Kind) -> Fields:
    written = {"xpointer": f"/body/DocFragment[{page}]/body/p[1]/text().0", "page": str(page)}
    position = written.get(kind, f"epubcfi(/6/{2 * page}!/4/2/1:0)")
    return {"percentage": round(page / book.pages, 4), "position": position, "position_kind": kind}


def _locator(book: Book, page: int) -> Fields:
    """Always of the same members, so that patching one in is the same as replacing it."""
    return {
        "href": f"chapter-{1 + page // 20}.xhtml",
        "type": "application/xhtml+xml",
        "locations": {"position": page, "totalProgression": round(page / book.pages, 4)},
    }
