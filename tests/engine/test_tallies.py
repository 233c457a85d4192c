"""What several workers count together: the same rules as one alone has, whoever asks, and whoever dies meanwhile."""

import os
import signal
from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core.bucket import Buckets
from syncserver.engine import tallies
from syncserver.engine.board import WAYS, Board
from syncserver.engine.tallies import OwnTally, Places, SharedRates, SharedTally

NAMES = st.sampled_from(["ada", "ben", "eva"])
TURNS = st.lists(st.tuples(st.integers(0, 1), NAMES, st.booleans()), max_size=60)
SHARED = Board(2)
RUNS = count()
"""Names of one example are no other's."""


@pytest.fixture
def board() -> Board:
    return Board(2, 64)


def in_a_process(work: Callable[[], object]) -> int:
    """The process that does this, and ends."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def ended(child: int) -> None:
    os.waitpid(child, 0)


@given(
    st.sampled_from([0.25, 1, 8]),
    st.integers(1, 100),
    st.lists(st.tuples(st.integers(0, 1), NAMES, st.integers(0, 40), st.integers(1, 50)), max_size=60),
)
def test_buckets_of_two_workers_are_those_of_one(per_s: float, burst: int, asked: list[tuple[int, str, int, int]]):
    """In quarters of a second, which floats hold exactly."""
    one, now, run = Buckets(per_s, burst), 1e6, next(RUNS)
    workers = [SharedRates(SHARED, "requests", per_s, burst) for _ in range(2)]
    for worker, name, quarters, number in asked:
        now += quarters / 4
        assert workers[1 - worker].wait_s(f"{name}{run}", now) == one.wait_s(name, now)
        assert workers[worker].take(f"{name}{run}", now, number) == one.take(name, now, number)


@given(st.integers(0, 4), TURNS)
def test_counts_of_two_workers_are_those_of_one(most: int, turns: list[tuple[int, str, bool]]):
    one, held, run = OwnTally(), list[tuple[int, str]](), next(RUNS)
    workers = [SharedTally(SHARED, "addresses", me) for me in range(2)]
    for worker, name, comes in turns:
        if comes:
            taken = workers[worker].take(f"{name}{run}", most)
            assert taken == one.take(name, most)
            held += [(worker, name)] * taken
        elif (worker, name) in held:
            held.remove((worker, name))
            workers[worker].give(f"{name}{run}")
            one.give(name)
        assert workers[worker].elsewhere(f"{name}{run}") == held.count((1 - worker, name))


def test_processes_that_ask_at_once_get_no_more_than_there_is(board: Board):
    reading, writing = os.pipe()

    def ask(me: int) -> None:
        rates, counts = SharedRates(board, "requests", 1e-9, 3_000), SharedTally(board, "sockets", me)
        taken = sum(not rates.take("ada", 1.0) for _ in range(3_000))
        os.write(writing, f"{taken} {sum(counts.take('ada', 3_000) for _ in range(3_000))}\n".encode())

    children = [in_a_process(lambda me=me: ask(me)) for me in range(2)]  # type: ignore[misc] # mypy knows no defaults
    for child in children:
        ended(child)
    found = [tuple(map(int, line.split())) for line in os.read(reading, 100).decode().splitlines()]
    assert [sum(column) for column in zip(*found, strict=True)] == [3_000, 3_000]


def test_what_a_dead_worker_had_counted_is_given_back(board: Board):
    here, dead = (SharedTally(board, "sockets", me) for me in range(2))
    places, gone = (Places(board, "clients", me) for me in range(2))
    assert here.take("ada", 3)
    assert places.come("phone") is None

    def die() -> None:
        assert dead.take("ada", 3)
        assert dead.take("ada", 3)
        gone.come("tablet")
        board.part("sockets").hold(board.part("sockets").place("ada")[1])
        os.kill(os.getpid(), signal.SIGKILL)

    ended(in_a_process(die))
    assert not here.take("ada", 3)
    assert (here.elsewhere("ada"), places.of("tablet")) == (2, 1)
    tallies.vacate(board, 1)
    assert (here.elsewhere("ada"), places.of("tablet"), places.of("phone")) == (0, None, 0)
    assert [here.take("ada", 3) for _ in range(3)] == [True, True, False]


def test_kinds_do_not_mix(board: Board):
    requests, tickets = (SharedRates(board, part, 1, 1) for part in ("requests", "tickets"))
    assert [requests.take("ada", 0.0), tickets.take("ada", 0.0), requests.take("ada", 0.0)] == [0, 0, 1]


def test_no_rate_is_no_limit(board: Board):
    assert not any(SharedRates(board, "requests", 0, 0).take("ada", 0.0, 1_000) for _ in range(100))


def test_a_place_that_nobody_has_any_more_is_anothers():
    board = Board(2, WAYS)  # one set
    counts, places = SharedTally(board, "sockets", 0), Places(board, "clients", 0)
    for number in range(1_000):
        assert counts.take(str(number), 1)
        assert not counts.take(str(number), 1)
        counts.give(str(number))
        places.come(str(number))
        assert places.of(str(number)) == 0
        places.leave(str(number))


def test_who_finds_no_place_is_let_in_uncounted():
    counts = SharedTally(Board(1, WAYS), "sockets", 0)
    for number in range(WAYS):
        assert counts.take(str(number), 1)
    assert counts.take("one too many", 1)
    assert counts.take("one too many", 1)
    counts.give("one too many")
    assert not counts.take("0", 1)


def test_a_full_set_forgets_the_bucket_that_was_asked_longest_ago():
    rates = SharedRates(Board(1, WAYS), "requests", 1, 1)
    for number in range(WAYS):
        rates.take(str(number), float(number) / 100)
    rates.take("new", 0.5)
    assert rates.wait_s("0", 0.5) == 0
    assert rates.wait_s("1", 0.5) > 0


def test_a_name_is_in_the_worker_that_it_came_to_last(board: Board):
    one, two = (Places(board, "clients", me) for me in range(2))
    assert [one.come("a"), two.come("a"), two.come("a"), one.come("a")] == [None, 0, None, 1]
    two.leave("a")
    assert two.of("a") == 0
    one.leave("a")
    assert two.of("a") is None
