"""When what changes again and again is saved."""

import pytest
from syncserver_client.debounce import Debounce


def test_nothing_changed_nothing_is_due():
    assert Debounce(1, 10).due(waiting=False) is None


def test_it_is_due_when_it_rests():
    pause = Debounce(1, 10)
    for now in (0.0, 0.5, 1.0):
        pause.changed(now)
    assert pause.due(waiting=False) == 2.0


def test_it_is_due_though_it_does_not_rest():
    pause = Debounce(1, 10)
    for turn in range(100):
        pause.changed(turn / 2)
    assert pause.due(waiting=False) == 10.0


def test_while_an_earlier_save_is_on_its_way_it_takes_all_the_time_there_is():
    pause = Debounce(1, 10)
    pause.changed(3.0)
    assert pause.due(waiting=True) == 13.0
    assert pause.due(waiting=False) == 4.0


def test_saved_it_begins_anew():
    pause = Debounce(1, 10)
    pause.changed(0.0)
    pause.saved()
    assert not pause.stirred
    pause.changed(20.0)
    assert pause.due(waiting=False) == 21.0


@pytest.mark.parametrize(("quiet_s", "most_s"), [(-1, 10), (2, 1)])
def test_what_makes_no_sense_is_refused(quiet_s, most_s):
    with pytest.raises(ValueError, match="quiet_s"):
        Debounce(quiet_s, most_s)
