import pytest
from syncserver_client.ladder import Ladder, Next

ALL = ("socket", "stream", "long-poll", "poll")


def walk(ladder, *codes):
    return [(ladder.failed(code), ladder.name) for code in codes]


def test_two_failures_in_a_row_lead_down():
    ladder = Ladder(ALL)
    steps = walk(ladder, "refused", "refused", "refused", "refused")
    assert steps == [(Next.AGAIN, "socket"), (Next.DOWN, "stream"), (Next.AGAIN, "stream"), (Next.DOWN, "long-poll")]


def test_silence_leads_down_at_once():
    assert walk(Ladder(ALL), "silent", "silent") == [(Next.DOWN, "stream"), (Next.DOWN, "long-poll")]


def test_one_that_worked_gets_both_tries_anew():
    ladder = Ladder(ALL)
    ladder.failed("cut")
    ladder.worked()
    assert walk(ladder, "silent", "cut", "cut") == [
        (Next.AGAIN, "socket"),
        (Next.AGAIN, "socket"),
        (Next.DOWN, "stream"),
    ]


def test_where_nobody_can_be_reached_each_gets_one_try_a_round():
    ladder = Ladder(ALL)
    steps = walk(ladder, *["unreachable"] * 9)
    assert [step for step, _ in steps] == [Next.AGAIN, *[Next.DOWN] * 3, Next.REST, *[Next.DOWN] * 3, Next.REST]
    ladder.worked()
    ladder.failed("cut")
    assert walk(ladder, "cut", "cut") == [(Next.AGAIN, "socket"), (Next.DOWN, "stream")]


@pytest.mark.parametrize("code", ["rate_limited", "http_429"])
def test_one_that_asks_for_patience_is_asked_again_however_often(code):
    ladder = Ladder(ALL)
    assert walk(ladder, *[code] * 5) == [(Next.AGAIN, "socket")] * 5
    assert walk(ladder, "cut", code, "cut") == [(Next.AGAIN, "socket"), (Next.AGAIN, "socket"), (Next.DOWN, "stream")]


def test_a_better_one_that_was_found_is_stood_on():
    ladder = Ladder(ALL)
    walk(ladder, "silent", "silent", "silent")
    assert (ladder.name, ladder.better) == ("poll", ALL[:3])
    ladder.stand("stream")
    assert (ladder.name, ladder.better) == ("stream", ("socket",))
    ladder.top()
    assert ladder.name == "socket"


def test_the_order_is_the_apps():
    ladder = Ladder(("poll", "socket"))
    assert walk(ladder, "silent", "silent") == [(Next.DOWN, "socket"), (Next.REST, "poll")]
