"""Which waiting writes need not be sent: what stands for what, and that the row is the same in the end."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncserver_client.fleeting import held, says_all
from syncserver_client.mutation import Mutation
from syncserver_client.overlay import merged
from syncserver_client.wire import canonical

NOW = "2026-01-01T00:00:00Z"


@dataclass
class Waits:
    mutation: Mutation
    base: int | None = None
    bare: bool = False


def patch(value, key="m", *, base=None, bare=False, **more):
    return Waits(Mutation("patch", "messages", key, value, **{"fleeting": True, **more}), base, bare)


def places(*queue):
    """By place in the queue: what is held back, and for what."""
    names = [entry.mutation.mutation_id for entry in queue]
    return {names.index(a): names.index(b) for a, b in held(queue).items()}


def test_the_next_that_says_all_stands_for_one_and_the_last_goes():
    assert places(patch({"x": 1}), patch({"x": 2}), patch({"x": 3})) == {0: 1, 1: 2}


def test_other_rows_between_make_no_difference():
    assert places(patch({"x": 1}), patch({"x": 5}, "other"), patch({"x": 3})) == {0: 2}


def test_only_the_next_write_to_a_row_may_stand_for_one():
    assert places(patch({"x": 1}), patch({"y": 2}), patch({"x": 3})) == {}


def test_what_the_later_one_does_not_say_is_sent():
    assert places(patch({"x": 1, "y": 1}), patch({"x": 2})) == {}


@pytest.mark.parametrize("op", ["put", "remove", "pause"])
def test_nothing_stands_for_one_across_another_kind_of_write_to_the_row(op):
    between = Waits(Mutation(op, "messages", "m", {} if op == "put" else None))
    assert places(patch({"x": 1}), between, patch({"x": 2}), patch({"x": 3})) == {2: 3}


@pytest.mark.parametrize(
    "first",
    [
        patch({"x": 1}, fleeting=False),
        patch({"x": 1}, bare=True),
        patch({"x": 1}, base=8),
        patch({"x": 1}, policy="client-wins"),
        patch({"x": 1}, updated_at=NOW),
        patch({"x": 1}, {"temp": "m"}),
    ],
    ids=["not fleeting", "bare", "knew a later row", "another policy", "stamped by the app", "a temporary name"],
)
def test_one_is_sent_itself_that_is(first):
    assert places(first, patch({"x": 2}, base=7, key=first.mutation.key)) == {}


def test_one_that_somebody_waits_for_is_sent():
    first = patch({"x": 1})
    after = Waits(Mutation("put", "messages", "n", {}, after=(first.mutation.mutation_id,)))
    assert places(first, patch({"x": 2}), after) == {}
    assert places(first, patch({"x": 2})) == {0: 1}


def test_a_later_one_that_knew_more_may_stand_for_it():
    assert places(patch({"x": 1}, base=3), patch({"x": 2}, base=4), patch({"x": 3})) == {0: 1}


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.lists(st.none(), max_size=1)),
    lambda inner: st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=5,
)
states = st.fixed_dictionaries({"x": values, "y": values})  # a row has all its fields, be they null
patches = st.dictionaries(st.sampled_from("xy"), values, max_size=2)


@given(states, patches, patches)
def test_what_says_all_leaves_nothing_of_the_earlier_one(row, earlier, later):
    if says_all(later, earlier):
        assert canonical(merged(merged(row, earlier), later)) == canonical(merged(row, later))


@given(patches, patches, patches)
def test_who_says_all_that_one_says_says_all_that_this_one_says(first, second, third):
    assert says_all(first, first)
    if says_all(third, second) and says_all(second, first):
        assert says_all(third, first)
