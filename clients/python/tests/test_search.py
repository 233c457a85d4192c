"""Looking for a better transport: one attempt at a time, when it is due, and nothing left behind."""

import asyncio

import pytest
from syncserver_client.errors import Transient
from syncserver_client.search import Search
from syncserver_client.settings import Settings

SETTINGS = Settings(url="http://x", device="d", retry_socket_s=100.0, backoff_first_s=0.001, backoff_most_s=0.001)


class Found:
    closed = False

    async def close(self):
        self.closed = True


@pytest.fixture
def woken():
    return asyncio.Event()


async def test_a_refused_one_is_left_for_long_and_one_that_is_away_is_not(woken):
    search = Search(SETTINGS, None, woken.set)
    search.later(Transient("refused"))
    assert 99 < search.due_in() <= 100
    search.later(Transient("unavailable"))
    assert search.due_in() < 1
    search.later(Transient("unavailable", retry_after_s=50.0))
    assert search.due_in() > 49
    search.now()
    assert search.due_in() == 0


async def test_what_it_finds_is_given_once(woken):
    found = Found()

    async def attempt():
        return found

    search = Search(SETTINGS, attempt, woken.set)
    search.begin_if_due()
    assert search.due_in() == float("inf")
    await woken.wait()
    assert search.result() is found
    assert search.result() is None
    await search.stop()
    assert not found.closed


async def test_what_fails_is_told_once(woken):
    async def attempt():
        raise Transient("refused")

    search = Search(SETTINGS, attempt, woken.set)
    search.begin_if_due()
    await woken.wait()
    with pytest.raises(Transient):
        search.result()
    assert search.result() is None


async def test_stopping_closes_what_nobody_took_and_ends_what_runs(woken):
    found = Found()

    async def attempt():
        return found

    search = Search(SETTINGS, attempt, woken.set)
    search.begin_if_due()
    await woken.wait()
    await search.stop()
    assert found.closed

    endless = Search(SETTINGS, asyncio.Event().wait, woken.set)
    endless.begin_if_due()
    await endless.stop()
    assert endless.result() is None
