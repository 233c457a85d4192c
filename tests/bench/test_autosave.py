"""The measurement of saves gives no figure where one was lost, refused, repeated or seen out of order."""

import time

import pytest

from tests.bench import figures
from tests.bench.autosave_reader import Reader
from tests.bench.autosave_timed import timed
from tests.bench.figures import WrongError


def _saved(reader, count):
    return [reader.save(time.monotonic())["mutation_id"] for _ in range(count)]


def _ack(mutation_id, offset, status="applied"):
    return {"mutation_id": mutation_id, "status": status, "offset": offset}


def _row(turn):
    return {"data": {"state": {"turn": turn}}}


def test_all_that_was_sent_must_come_back_and_be_seen():
    reader = Reader("t")
    first, second = _saved(reader, 2)
    reader.answer([_ack(first, 5), _ack(second, 6, "merged")])
    assert not reader.done
    reader.see([_row(2)])  # the second stands for both
    assert reader.done
    assert len(reader.acked_ms) == len(reader.seen_ms) == 2


@pytest.mark.parametrize("ack", [("superseded", 9), ("applied", 5)])
def test_a_save_that_was_not_taken_or_out_of_order_is_no_figure(ack):
    reader = Reader("t")
    first, second = _saved(reader, 2)
    reader.answer([_ack(first, 5)])
    with pytest.raises(WrongError):
        reader.answer([_ack(second, ack[1], ack[0])])


def test_a_device_that_goes_back_is_no_figure():
    reader = Reader("t")
    _saved(reader, 2)
    reader.see([_row(2)])
    with pytest.raises(WrongError):
        reader.see([_row(1)])


def test_shares():
    assert figures.share(range(100), 0.5) == 50
    assert figures.share(range(100), 0.99) == 99
    with pytest.raises(WrongError):
        figures.share([], 0.5)


def test_what_is_timed_does_what_it_did():
    taken: list[tuple[str, float, float]] = []
    assert timed("int", int, taken)("7") == 7
    with pytest.raises(ValueError, match="x"):
        timed("int", int, taken)("x")
    assert [name for name, _, _ in taken] == ["int", "int"]
