"""The log read for many who are behind: together, in turn, each answered once, nobody held up by another's fault."""

import asyncio
from collections.abc import Collection, Mapping

from hypothesis import given
from hypothesis import strategies as st

from syncserver.core.change import Page
from syncserver.core.cursor import Cursor
from syncserver.core.errors import Refetch, Unavailable
from syncserver.engine import catchup
from syncserver.engine.catchup import Asked, Catchup
from syncserver.hub.news import Wanted
from syncserver.storage import changes

HEAD = 1_000_000


class Log:
    """The read, and what it was asked for; it answers when `open`."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, int], Wanted, int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.fault: Exception | None = None

    async def pages(
        self, after: Mapping[str, int], resources: Collection[str] | None, limit: int
    ) -> Mapping[str, Page]:
        self.asked.append((dict(after), None if resources is None else frozenset(resources), limit))
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        return {o: Page(o, "e", at, at + limit, 5, HEAD, [], more=True) for o, at in after.items()}


class Peer:
    """Who asks, and what it was told."""

    def __init__(self, log: Log) -> None:
        self.catchup = Catchup(log.pages, width=1)
        self.told: list[tuple[str, int] | Exception] = []
        self.enough = asyncio.Event()
        self.due = 0

    def ask(self, owner: str, after: int = 0, wanted: Wanted = None, epoch: str = "e") -> None:
        self.due += 1
        self.enough.clear()
        cursor = Cursor.at(epoch, owner, after) if after else None
        self.catchup.ask(Asked(self, owner, cursor, wanted))

    def paged(self, asked: Asked, page: Page) -> None:
        assert page.owner == asked.owner
        self._tell((page.owner, page.since))

    def failed(self, asked: Asked, error: Exception) -> None:  # noqa: ARG002 - see Reader
        self._tell(error)

    def _tell(self, what: tuple[str, int] | Exception) -> None:
        self.told.append(what)
        if len(self.told) == self.due:
            self.enough.set()

    async def all(self) -> None:
        async with asyncio.timeout(20):
            await self.enough.wait()
        assert len(self.told) == self.due


async def test_all_who_wait_are_read_for_in_one_statement():
    log = Log()
    peer = Peer(log)
    for number in range(50):
        peer.ask(f"user:{number}", number + 5)
    peer.ask("user:7", 12)  # another device, at the same place
    await peer.all()
    assert [asked[0] for asked in log.asked] == [{f"user:{number}": number + 5 for number in range(50)}]
    assert peer.told.count(("user:7", 12)) == 2


async def test_one_alone_gets_a_whole_page_and_many_get_smaller_ones():
    log = Log()
    peer = Peer(log)
    peer.ask("user:ada")
    await peer.all()
    for number in range(catchup._OWNERS):
        peer.ask(f"user:{number}")
    await peer.all()
    assert [limit for _, _, limit in log.asked] == [changes.PAGE_ROWS, catchup._ROWS // catchup._OWNERS]


async def test_two_devices_of_one_owner_at_different_places_are_read_for_one_after_the_other():
    log = Log()
    peer = Peer(log)
    for after in (7, 9, 9, 8):
        peer.ask("user:ada", after)
    await peer.all()
    assert [after["user:ada"] for after, _, _ in log.asked] == [7, 9, 8]


async def test_a_cursor_that_does_not_hold_and_a_fault_are_told_to_whom_they_concern():
    log = Log()
    peer = Peer(log)
    peer.ask("user:ada", 7, epoch="another")
    peer.ask("user:ben", 3)  # below the floor
    peer.ask("user:eve", 8)
    await peer.all()
    assert [str(one.reason) for one in peer.told if isinstance(one, Refetch)] == ["epoch", "floor"]
    assert ("user:eve", 8) in peer.told
    log.fault = Unavailable("away")
    peer.ask("user:ada")
    await peer.all()
    assert peer.told[-1] is log.fault


async def test_who_has_more_to_read_stands_at_the_end_again():
    log = Log()
    peer = Peer(log)
    log.open.clear()
    peer.ask("user:ada", 10, frozenset({"progress"}))
    await asyncio.sleep(0)
    peer.ask("user:ben", 10)
    peer.ask("user:ada", 20)
    log.open.set()
    await peer.all()
    assert [list(after) for after, _, _ in log.asked] == [["user:ada"], ["user:ben", "user:ada"]]


_ASKS = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(5, 8), st.sampled_from([None, frozenset({"x"})])))


@given(asks=_ASKS)
def test_whatever_is_asked_in_whatever_order_each_is_answered_once_with_what_it_asked_for(
    asks: list[tuple[str, int, Wanted]],
):
    async def run() -> None:
        log = Log()
        peer = Peer(log)
        for owner, after, wanted in asks:
            peer.ask(owner, after, wanted)
        if asks:
            await peer.all()
        expected = [(owner, after) for owner, after, _ in asks]
        assert sorted(one for one in peer.told if isinstance(one, tuple)) == sorted(expected)
        for places, wanted, _ in log.asked:
            assert all((owner, at, wanted) in asks for owner, at in places.items())

    asyncio.run(run())
