"""The verdict on made-up courses: a leak is found, and what only looks like one is not."""

from collections.abc import Callable
from random import Random

import pytest

from tests.bench.verdict import MIB, Figures, Run, Sample, at_rest, judge, slope

LOAD_S = 1800
IDLE = Sample(at_s=0.0, memory_bytes=100 * MIB, files=20, tasks=15, sockets=0, connections=11)

Course = Callable[[int], float]


def sample(at_s: int, memory: float, **counts: int) -> Sample:
    busy = {"files": 400, "tasks": 900, "sockets": 300, "connections": 11, **counts}
    return Sample(at_s=float(at_s), memory_bytes=round(memory * MIB), **busy)


def judged(course: Course, seconds: int = LOAD_S) -> dict[str, Figures]:
    load = [sample(second, course(second)) for second in range(seconds)]
    return {figures.name: figures for figures in judge(Run([IDLE] * 5, load, [IDLE] * 5))}


def memory(course: Course, seconds: int = LOAD_S) -> Figures:
    return judged(course, seconds)["memory, MiB"]


def warming(second: int) -> float:
    """Caches that fill in the first five minutes."""
    return 100 + 60 * min(1.0, second / 290)


NOISE = Random(4)
FLAT: dict[str, Course] = {
    "constant": lambda _: 150,
    "warming up": warming,
    "noisy": lambda _: 150 + NOISE.gauss(0, 8),
    "sawtooth": lambda second: 150 + 0.4 * (second % 100),
    "slow sawtooth": lambda second: 150 + 0.1 * (second % 375),
    "step soon after the warm-up": lambda second: 150 + 30 * (second > 400),
    "falls": lambda second: 200 - second / 60,
    "one peak": lambda second: 150 + 400 * (900 < second < 1000),
    "grows a little": lambda second: 150 + 5 * second / LOAD_S,
}
GROWING: dict[str, Course] = {
    "line": lambda second: 150 + 20 * second / LOAD_S,
    "line under noise": lambda second: 150 + 20 * second / LOAD_S + NOISE.gauss(0, 8),
    "line under a sawtooth": lambda second: 150 + 20 * second / LOAD_S + 0.4 * (second % 100),
    "faster and faster": lambda second: 150 + 40 * (second / LOAD_S) ** 3,
    "late step": lambda second: 150 + 30 * (second > 1200),
    "stairs": lambda second: 150 + 5 * (second // 300),
    "after the warm-up": lambda second: warming(second) + 15 * second / LOAD_S,
}


@pytest.mark.parametrize("course", FLAT.values(), ids=FLAT.keys())
def test_memory_that_does_not_grow_is_no_finding(course: Course):
    assert memory(course).wrong is None


@pytest.mark.parametrize("course", GROWING.values(), ids=GROWING.keys())
def test_memory_that_grows_is_found(course: Course):
    assert memory(course).wrong is not None


def test_more_than_ten_mib_are_allowed_to_a_large_server():
    assert memory(lambda second: 1000 + 40 * second / LOAD_S).wrong is None
    assert memory(lambda second: 1000 + 80 * second / LOAD_S).wrong is not None


def test_a_short_run_warms_up_for_its_first_quarter():
    assert memory(lambda second: 100 + min(second, 14), seconds=60).wrong is None
    assert memory(lambda second: 100 + second, seconds=60).wrong is not None


def test_the_figures_are_those_of_the_course():
    found = memory(lambda second: 100 + second / 10)
    assert (found.start, found.end) == (100, 100)
    assert found.slope_an_hour == pytest.approx(360, rel=0.01)
    assert found.warm == pytest.approx(130, abs=1)
    assert found.quarters == pytest.approx((148.8, 186.2, 223.8, 261.2), abs=1)
    assert found.peak == pytest.approx(279.9)


def test_what_is_busy_under_load_and_gone_afterwards_is_no_finding():
    assert [figures.wrong for figures in judged(lambda _: 150).values()] == [None] * 5


@pytest.mark.parametrize("name", ["files", "tasks", "sockets", "connections"])
def test_what_is_left_when_all_have_gone_is_found(name: str):
    after = [sample(0, 100, **{"files": 20, "tasks": 15, "sockets": 0, "connections": 11, name: 40})] * 5
    load = [sample(second, 150) for second in range(LOAD_S)]
    found = {figures.name for figures in judge(Run([IDLE] * 5, load, after)) if figures.wrong}
    assert found == {name}
    assert not at_rest([IDLE] * 5, after)
    assert at_rest([IDLE] * 5, [IDLE] * 5)


def test_a_database_that_was_away_leaves_a_gap_and_no_zero():
    load = [sample(second, 150) for second in range(LOAD_S)]
    gap = [Sample(1.0, 150 * MIB, 400, 900, 300, None)] * 1000
    found = {figures.name: figures for figures in judge(Run([IDLE] * 5, [*load, *gap], [IDLE] * 5))}
    assert found["connections"].quarters == (11, 11, 11, 11)


def test_no_points_have_no_slope():
    assert slope([]) == 0
    assert slope([(1.0, 5.0)]) == 0
