import pytest
from syncserver_client.pace import Pace


def paced(pace, frames, now=0.0):
    """When so many frames go, each as soon as it may."""
    times = []
    for _ in range(frames):
        now += pace.wait_s(now)
        pace.sent(now)
        times.append(now)
    return times


def test_some_at_once_then_so_many_a_second():
    assert paced(Pace(3, 10), 6) == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3])


def test_after_a_pause_some_at_once_again():
    pace = Pace(3, 10)
    paced(pace, 10)
    assert paced(pace, 4, now=100.0)[:3] == [100.0] * 3


def test_a_writer_that_never_rests_stays_under_what_a_server_lets_through():
    """A server of its own accord: 50 frames a second, 200 at once; the rest is for pings and the like."""
    tokens, last = 200.0, 0.0
    for now in paced(Pace(), 2_000):
        tokens, last = min(200.0, tokens + (now - last) * 50) - 1, now
        assert tokens > 50
