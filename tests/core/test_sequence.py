"""A sequence becomes the one that is wanted, by as few ranks as can be."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core import rank, sequence
from syncserver.core.sequence import Spot

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_digits = "01AZaz"
_ranks = st.text(_digits, min_size=1, max_size=4).filter(lambda text: not text.endswith("0"))
_names = st.sampled_from("abcdefghij")
_sequences = st.dictionaries(_names, _ranks)


def in_order(ranks: dict[str, str]) -> list[str]:
    return sorted(ranks, key=lambda key: (ranks[key], key))


@given(_sequences, st.lists(_names, unique=True))
def test_it_is_the_one_that_is_wanted(before: dict[str, str], wanted: list[str]):
    ranks = {key: before[key] for key in wanted if key in before}
    found = sequence.arranged(wanted, ranks, NOON)
    assert in_order({**ranks, **found}) == wanted
    assert all(len(made) <= rank.CROWDED_CHARS for made in found.values())


@given(_sequences)
def test_what_is_in_order_stays_as_it_is(ranks: dict[str, str]):
    assert sequence.arranged(in_order(ranks), ranks, NOON) == {}


@given(_sequences.filter(lambda found: len(set(dict(found).values())) == len(found) > 1), st.data())
def test_one_that_moves_is_the_only_one_that_changes(ranks: dict[str, str], data: st.DataObject):
    moved = data.draw(st.sampled_from(sorted(ranks)))
    others = {key: own for key, own in ranks.items() if key != moved}
    wanted = sequence.placed(in_order(others), moved, Spot(data.draw(st.integers(0, 12))))
    assert sequence.arranged(wanted, others, NOON).keys() == {moved}


def test_what_comes_to_stand_at_the_end_stands_behind_what_others_put_there_before():
    earlier = {"a": "V", "b": rank.at(datetime(2026, 3, 1, 11, 0, tzinfo=UTC))}
    found = sequence.arranged(["a", "b", "c", "d"], earlier, NOON)
    assert earlier["b"] < found["c"] == rank.at(NOON) < found["d"]


def test_at_the_end_it_stands_even_if_its_clock_is_behind():
    later = {"a": rank.at(datetime(2026, 3, 1, 13, 0, tzinfo=UTC))}
    assert sequence.arranged(["a", "b"], later, NOON)["b"] > later["a"]


@pytest.mark.parametrize("ranks", [{"a": "V", "b": "V"}, {"a": f"{'V' * 127}1", "b": f"{'V' * 127}2"}])
def test_where_no_room_is_left_all_ranks_are_made_anew(ranks: dict[str, str]):
    found = sequence.arranged(["a", "x", "b"], ranks, NOON)
    assert list(found.values()) == list(rank.spread(3))
    assert list(found) == ["a", "x", "b"]


@pytest.mark.parametrize(
    ("spot", "wanted"),
    [
        (Spot(), "abcx"),
        (Spot(0), "xabc"),
        (Spot(2), "abxc"),
        (Spot(99), "abcx"),
        (Spot(before="b"), "axbc"),
        (Spot(after="b"), "abxc"),
        (Spot(after="c"), "abcx"),
    ],
)
def test_a_row_is_put_where_it_is_said_to_be(spot: Spot, wanted: str):
    assert "".join(sequence.placed("abc", "x", spot)) == wanted


def test_a_neighbour_that_is_not_there_is_refused():
    with pytest.raises(LookupError):
        sequence.placed(["a"], "x", Spot(before="b"))
