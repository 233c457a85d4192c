"""The end of a token: a warning, then the end, at times of a clock that the test sets."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from syncserver.engine import term as term_module
from syncserver.engine.term import Term

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Visit:
    """A term, its clock, and what it told."""

    def __init__(self) -> None:
        self.now = NOON
        self.warned: list[float] = []
        self.told = asyncio.Event()
        self.over = asyncio.Event()
        self.term = Term(lambda: self.now, self.warn, self.over.set)

    def warn(self, in_s: float) -> None:
        self.warned.append(in_s)
        self.told.set()


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


async def test_with_an_hour_left_nothing_is_said():
    visit = Visit()
    visit.term.until(after(3600))
    assert (visit.warned, visit.over.is_set()) == ([], False)
    visit.term.stop()


async def test_with_less_than_a_minute_left_it_warns_at_once_and_once():
    visit = Visit()
    visit.term.until(after(12.3))
    assert visit.warned == [12.3]
    assert not visit.over.is_set()
    visit.term.stop()


async def test_it_is_over_at_the_end():
    visit = Visit()
    visit.term.until(after(0.05))
    visit.now = after(0.05)
    async with asyncio.timeout(20):
        await visit.over.wait()


async def test_a_token_that_has_ended_is_over_at_once_without_a_warning():
    visit = Visit()
    visit.term.until(after(-1))
    assert (visit.warned, visit.over.is_set()) == ([], True)


async def test_it_warns_a_minute_before_the_end():
    visit = Visit()
    visit.term.until(after(60.05))
    assert visit.warned == []
    visit.now = after(0.05)
    async with asyncio.timeout(20):
        await visit.told.wait()
    assert visit.warned == [60]
    visit.term.stop()


async def test_a_fresh_token_takes_the_place_of_the_one_before_and_is_warned_of_again():
    visit = Visit()
    visit.term.until(after(1))
    visit.term.until(after(3600))
    visit.term.until(after(30))
    assert visit.warned == [1, 30]
    visit.now = after(20)
    visit.term.until(None)
    assert not visit.over.is_set()


async def test_a_clock_that_is_set_meanwhile_is_looked_at_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(term_module, "_LOOK_S", 0.01)
    visit = Visit()
    visit.term.until(after(10 * 86_400))
    visit.now = after(11 * 86_400)
    async with asyncio.timeout(20):
        await visit.over.wait()


async def test_stopped_is_stopped():
    visit = Visit()
    visit.term.until(after(60.01))
    visit.now = after(0.01)
    visit.term.stop()
    await asyncio.sleep(0.02)
    assert visit.warned == []
