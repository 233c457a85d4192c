"""States that are final: what is completed takes nothing more, and no live state keeps a row from it."""

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from syncserver.core.resolver import ConflictResolver, Policy, Reason, Version
from tests.core.test_resolver import RULED, RULES, _any, _devices, _folded, _orders, _put, _puts, _stamps, version


def _is_over(fields: Any) -> bool:
    return bool(fields["position"] == "b")


ENDING = ConflictResolver(RULES, _is_over)
_over = st.builds(Version, _puts.map(lambda fields: {**fields, "position": "b"}), _stamps, _devices)
_alive = st.builds(Version, _puts.filter(lambda fields: fields["position"] != "b"), _stamps, _devices)
_bases = st.sampled_from([None, 4, 5])
_removals = st.builds(Version, st.none(), _stamps, _devices)


def test_a_completion_wins_over_a_later_live_state_and_is_stamped_past_it():
    live, over = version({"position": "a"}, 9, "tablet", offset=5), version({"position": "b"}, 1)
    resolution = ENDING.resolve(live, over)
    assert (resolution.accepted, resolution.concurrent, resolution.reason) == (True, True, Reason.FINAL)
    assert resolution.version.updated_at == live.updated_at + timedelta(microseconds=1)


def test_the_first_completion_holds_and_the_second_is_told_so():
    first, second = version({"position": "b"}, 1, offset=5), version({"position": "b", "begun": 3}, 9, "tablet")
    resolution = ENDING.resolve(first, second)
    assert (resolution.version, resolution.accepted) == (first, False)
    assert (resolution.concurrent, resolution.reason) == (True, Reason.FINAL)


@given(_over, _put, _bases, st.sampled_from(list(Policy)))
def test_a_final_state_takes_nothing_whoever_writes_and_whatever_the_writer_knew(
    over: Version, write: Version, base: int | None, policy: Policy
):
    held = replace(over, offset=5)
    resolution = ENDING.resolve(held, replace(write, offset=base, explicit=frozenset(RULES)), policy)
    assert resolution.version is held
    assert not resolution.changed
    assert resolution.reason in {Reason.FINAL, Reason.SAME}


@given(_over, st.sampled_from(list(Policy)))
def test_a_final_state_seen_again_is_the_same_write(over: Version, policy: Policy):
    resolution = ENDING.resolve(over, over, policy)
    assert (resolution.version, resolution.reason, resolution.concurrent) == (over, Reason.SAME, False)


@given(_alive, _over, _bases, st.sampled_from(list(Policy)))
def test_a_completion_beats_every_live_state_but_under_server_wins_from_one_who_did_not_know_it(
    live: Version, over: Version, base: int | None, policy: Policy
):
    resolution = ENDING.resolve(replace(live, offset=5), replace(over, offset=base), policy)
    assert resolution.accepted is (policy is not Policy.SERVER_WINS or base == 5)
    assert resolution.accepted is (resolution.version.fields is not None and _is_over(resolution.version.fields))
    if resolution.accepted:
        assert resolution.version.updated_at > live.updated_at


@given(st.lists(_alive, max_size=5), _over, st.lists(_alive, max_size=5), _orders)
def test_wherever_the_only_completion_comes_among_live_writes_it_is_what_holds(
    earlier: list[Version], over: Version, later: list[Version], chance: random.Random
):
    writes = [*earlier, over, *later]
    for order in (writes, chance.sample(writes, len(writes))):
        held = _folded(ENDING, order)
        assert held is not None
        assert held.fields is not None
        assert over.fields is not None
        assert held.device_id == over.device_id
        assert {name: held.fields[name] for name in held.fields.keys() - RULES} == {"position": "b"}


@given(_over, _removals, st.sampled_from([Policy.LAST_WRITE_WINS, Policy.SERVER_WINS, Policy.CLIENT_WINS]))
def test_a_removal_of_a_final_state_is_judged_as_of_any_other(over: Version, removal: Version, policy: Policy):
    held = replace(over, offset=5)
    assert ENDING.resolve(held, removal, policy) == RULED.resolve(held, removal, policy)


@given(_removals, _over, st.sampled_from(list(Policy)))
def test_a_completion_of_what_was_removed_is_judged_as_any_other_write(removal: Version, over: Version, policy: Policy):
    held = replace(removal, offset=5)
    assert ENDING.resolve(held, over, policy) == RULED.resolve(held, over, policy)


@given(st.none() | _any, _any, _bases, st.sampled_from(list(Policy)))
def test_where_nothing_is_final_all_is_as_it_is_without(
    stored: Version | None, write: Version, base: int | None, policy: Policy
):
    held = stored and replace(stored, offset=5)
    known = replace(write, offset=base)
    never = ConflictResolver(RULES, lambda _: False)
    assert never.resolve(held, known, policy) == RULED.resolve(held, known, policy)
