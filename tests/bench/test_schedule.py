"""The troubles of a soak are the same for the same seed, and each kind comes."""

from collections import Counter

from tests.bench.schedule import LAST_SHARE, PATTERNS, Kind, schedule


def test_the_same_seed_gives_the_same_troubles():
    assert schedule(7, 1800) == schedule(7, 1800)
    assert schedule(7, 1800) != schedule(8, 1800)


def test_even_a_short_run_has_one_of_each_kind_and_time_to_recover():
    for seed in range(200):
        faults = schedule(seed, 12)
        assert {fault.kind for fault in faults} == set(Kind)
        assert all(fault.at_s < LAST_SHARE * 12 and fault.at_s + fault.lasts_s < 12 for fault in faults)


def test_a_long_run_has_each_kind_as_often_as_its_pattern_says():
    counts = Counter(fault.kind for fault in schedule(1, 100_000))
    for kind, pattern in PATTERNS.items():
        assert abs(counts[kind] * pattern.every_s / 100_000 - 1) < 0.1


def test_they_come_in_the_order_of_time():
    times = [fault.at_s for fault in schedule(3, 1800)]
    assert times == sorted(times)
