"""ConflictResolver: examples of each rule, and the laws that hold for every set of writes."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core.resolver import ConflictResolver, FieldPolicy, Policy, Reason, Resolution, Version

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RULES = {"furthest": FieldPolicy.FURTHEST, "begun": FieldPolicy.EARLIEST, "tags": FieldPolicy.UNION}
PLAIN, RULED = ConflictResolver(), ConflictResolver(RULES)


def version(fields: dict[str, Any] | None, seconds: float = 0, device: str = "phone", **more: Any) -> Version:
    return Version(fields, NOON + timedelta(seconds=seconds), device, **more)


# -- examples ----------------------------------------------------------------


def test_the_first_write_of_a_row_is_taken_as_it_is():
    write = version({"position": "a"})
    assert PLAIN.resolve(None, write) == Resolution(write, accepted=True, concurrent=False, reason=Reason.FIRST)


@pytest.mark.parametrize("policy", Policy)
def test_a_write_that_knew_the_row_wins_against_every_clock_and_policy(policy: Policy):
    stored = version({"position": "a"}, seconds=3600, device="tablet", offset=7)
    resolution = PLAIN.resolve(stored, version({"position": "b"}, offset=7), policy)
    assert (resolution.accepted, resolution.concurrent, resolution.reason) == (True, False, Reason.BASE)
    assert resolution.version.fields == {"position": "b"}
    assert resolution.version.updated_at == stored.updated_at + timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("stored", "incoming", "accepted", "reason"),
    [
        (version({"position": "a"}, 0), version({"position": "b"}, 1), True, Reason.UPDATED_AT),
        (version({"position": "a"}, 1), version({"position": "b"}, 0), False, Reason.UPDATED_AT),
        (version({"position": "a"}, 1), version(None, 2), True, Reason.UPDATED_AT),
        (version(None, 2), version({"position": "a"}, 1), False, Reason.UPDATED_AT),
        (version({"position": "a"}, device="a"), version({"position": "b"}, device="b"), True, Reason.DEVICE_ID),
        (version({"position": "a"}, device="ä"), version({"position": "b"}, device="z"), False, Reason.DEVICE_ID),
        (version({"position": "a"}), version({"position": "b"}), True, Reason.CONTENT),
        (version({"position": "b"}), version({"position": "a"}), False, Reason.CONTENT),
        (version({"position": 1}), version({"position": True}), True, Reason.CONTENT),
        (version({"position": "a"}), version({"position": "a"}), False, Reason.SAME),
    ],
)
def test_the_greater_stamp_wins_then_the_device_id_by_its_bytes_then_the_content(
    stored: Version, incoming: Version, accepted: bool, reason: Reason
):
    resolution = PLAIN.resolve(replace(stored, offset=9), replace(incoming, offset=3))
    assert (resolution.accepted, resolution.reason) == (accepted, reason)
    assert resolution.changed is accepted


def test_server_wins_keeps_what_is_stored_and_client_wins_takes_what_comes():
    stored, older = version({"position": "a"}, 5, offset=2), version({"position": "b"}, 0, "tablet", offset=1)
    newer = replace(older, updated_at=NOON + timedelta(seconds=9))
    kept = PLAIN.resolve(stored, newer, Policy.SERVER_WINS)
    taken = PLAIN.resolve(stored, older, Policy.CLIENT_WINS)
    assert (kept.version, kept.accepted, kept.reason) == (stored, False, Reason.SERVER_WINS)
    assert (taken.version.fields, taken.accepted, taken.reason) == ({"position": "b"}, True, Reason.CLIENT_WINS)
    assert taken.version.updated_at > stored.updated_at


@pytest.mark.parametrize(
    ("current", "incoming", "concurrent"),
    [
        (None, version({}), False),
        (version({}, offset=4), version({"a": 1}, 1, "tablet", offset=4), False),
        (version({}, offset=4), version({"a": 1}, 1, "tablet", offset=3), True),
        (version({}, offset=4), version({"a": 1}, 1, "tablet"), True),
        (version({}, offset=4), version({"a": 1}, 1, "phone", offset=3), False),
        (version({}, offset=4), version({}), False),
    ],
)
def test_writes_are_concurrent_when_another_device_wrote_without_knowing_the_row(
    current: Version | None, incoming: Version, concurrent: bool
):
    assert PLAIN.detect(current, incoming) is concurrent


def test_fields_with_a_rule_of_their_own_take_from_the_loser():
    stored = version({"position": "z", "furthest": 0.4, "begun": 3, "tags": ["b", "a"]}, 9, offset=2)
    late = version({"position": "a", "furthest": 0.9, "begun": 5, "tags": ["c", "a"]}, 1, "tablet")
    resolution = RULED.resolve(stored, late)
    assert (resolution.accepted, resolution.merged, resolution.changed) == (False, True, True)
    assert resolution.version.fields == {"position": "z", "furthest": 0.9, "begun": 3, "tags": ["a", "b", "c"]}


def test_a_field_rule_ignores_empty_fields_on_either_side():
    empty = version({"furthest": None, "begun": None, "tags": None})
    full = version({"furthest": 0.5, "begun": 1, "tags": ["a"]}, 1, "tablet")
    for first, second in ((empty, full), (full, empty)):
        assert RULED.resolve(first, second).version.fields == full.fields
    assert RULED.resolve(empty, replace(empty, device_id="tablet")).version.fields == empty.fields


def test_a_removal_takes_nothing_along_and_leaves_nothing_behind():
    read, removed = version({"furthest": 0.9}, 0), version(None, 1, "tablet")
    assert RULED.resolve(read, removed).version.fields is None
    assert RULED.resolve(removed, version({"furthest": 0.1}, 2)).version.fields == {"furthest": 0.1}


def test_whoever_knew_the_row_may_set_a_field_against_its_rule_on_purpose():
    stored = version({"furthest": 0.9}, offset=3)
    again = version({"furthest": 0.0}, 1, offset=3)
    assert RULED.resolve(stored, again).version.fields == {"furthest": 0.9, "begun": None, "tags": None}
    known = RULED.resolve(stored, replace(again, explicit=frozenset({"furthest"})))
    unknown = RULED.resolve(stored, replace(again, explicit=frozenset({"furthest"}), offset=2))
    assert known.version.fields is not None
    assert known.version.fields["furthest"] == 0.0
    assert unknown.version.fields is not None
    assert unknown.version.fields["furthest"] == 0.9


# -- laws --------------------------------------------------------------------

_numbers = st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0])
_tags = st.none() | st.lists(st.sampled_from(["a", "b", "c"]), max_size=3)
_positions = st.sampled_from([None, "a", "b", 0, 1, 2, 1.0, True, ["a"], {"a": 1, "b": 2}])
_puts = st.fixed_dictionaries({"position": _positions, "furthest": _numbers, "begun": _numbers, "tags": _tags})
_stamps = st.sampled_from([NOON + timedelta(seconds=s) for s in range(4)])
_devices = st.sampled_from(["a", "b", "ä", "😀", "Z", ""])
_any = st.builds(Version, st.none() | _puts, _stamps, _devices)
_put = st.builds(Version, _puts, _stamps, _devices)


def _seen(version: Version | None) -> bytes:
    """What the law compares: fields, stamp and device, with 1, 1.0 and true told apart."""
    assert version is not None
    return orjson.dumps([version.fields, version.updated_at, version.device_id], option=orjson.OPT_SORT_KEYS)


def _without_rules(version: Version | None) -> bytes:
    assert version is not None
    fields = version.fields and {name: value for name, value in version.fields.items() if name not in RULES}
    return _seen(replace(version, fields=fields))


def _folded(resolver: ConflictResolver, writes: Sequence[Version]) -> Version | None:
    start: Version | None = None
    return reduce(lambda held, write: resolver.resolve(held, write).version, writes, start)


def _grouped(resolver: ConflictResolver, writes: Sequence[Version], seed: random.Random) -> Version:
    """The writes resolved in some grouping: a random tree instead of one after the other."""
    if len(writes) == 1:
        return writes[0]
    cut = seed.randrange(1, len(writes))
    left, right = _grouped(resolver, writes[:cut], seed), _grouped(resolver, writes[cut:], seed)
    return resolver.resolve(left, right).version


_orders = st.randoms(use_true_random=False)


@given(st.lists(_any, min_size=1, max_size=6), _orders)
def test_writes_end_in_the_same_version_in_every_order_and_grouping(writes: list[Version], chance: random.Random):
    shuffled = chance.sample(writes, len(writes))
    assert _seen(_folded(PLAIN, shuffled)) == _seen(_folded(PLAIN, writes))
    assert _seen(_grouped(PLAIN, shuffled, chance)) == _seen(_folded(PLAIN, writes))


@given(st.lists(_put, min_size=1, max_size=6), _orders)
def test_with_field_rules_puts_end_in_the_same_version_in_every_order_and_grouping(
    writes: list[Version], chance: random.Random
):
    shuffled = chance.sample(writes, len(writes))
    assert _seen(_folded(RULED, shuffled)) == _seen(_folded(RULED, writes))
    assert _seen(_grouped(RULED, shuffled, chance)) == _seen(_folded(RULED, writes))


@given(st.lists(_any, min_size=1, max_size=6), _orders)
def test_field_rules_and_removals_together_never_change_which_write_wins(writes: list[Version], chance: random.Random):
    """A removal keeps no data, so what a rule takes depends on whether it came before; all else does not."""
    shuffled = chance.sample(writes, len(writes))
    winner = _without_rules(_folded(PLAIN, writes))
    if not any(_ties(writes)):
        assert _without_rules(_folded(RULED, writes)) == winner
    assert _without_rules(_folded(RULED, shuffled)) == _without_rules(_folded(RULED, writes))


def _ties(writes: Sequence[Version]) -> list[Version]:
    """Writes of one device with one stamp: those are told apart by their content."""
    names = [(w.updated_at, w.device_id) for w in writes]
    return [w for w, name in zip(writes, names, strict=True) if names.count(name) > 1]


@given(st.lists(_any, min_size=1, max_size=5), st.sampled_from([PLAIN, RULED]), st.sampled_from(list(Policy)))
def test_the_winner_seen_again_changes_nothing(writes: list[Version], resolver: ConflictResolver, policy: Policy):
    held = _folded(resolver, writes)
    assert held is not None
    again = resolver.resolve(held, held, policy)
    assert (again.version, again.changed, again.concurrent) == (held, False, False)


@given(_any, _any, st.sampled_from(list(Policy)), _orders)
def test_a_decision_depends_on_nothing_but_the_two_versions(a: Version, b: Version, policy: Policy, order: Any):
    def shuffled(names: Any) -> Any:
        return names and {name: names[name] for name in order.sample(sorted(names), len(names))}

    other = ConflictResolver(shuffled(RULES))
    first = RULED.resolve(a, b, policy)
    second = other.resolve(replace(a, fields=shuffled(a.fields)), replace(b, fields=shuffled(b.fields)), policy)
    assert _seen(first.version) == _seen(second.version)
    assert (first.accepted, first.reason, first.merged) == (second.accepted, second.reason, second.merged)


@given(_any, _any, st.sampled_from(list(Policy)), st.sampled_from([PLAIN, RULED]))
def test_knowing_the_row_is_enough_and_stamps_grow(
    stored: Version, write: Version, policy: Policy, resolver: ConflictResolver
):
    resolution = resolver.resolve(replace(stored, offset=5), replace(write, offset=5), policy)
    assert resolution.accepted
    assert resolution.version.updated_at > stored.updated_at
    assert _without_rules(replace(resolution.version, updated_at=NOON)) == _without_rules(
        replace(write, updated_at=NOON)
    )


@given(_any, _any)
def test_a_winner_is_never_older_than_what_it_replaces(stored: Version, write: Version):
    resolution = PLAIN.resolve(stored, write)
    before = (stored.updated_at, stored.device_id.encode())
    assert (resolution.version.updated_at, resolution.version.device_id.encode()) >= before


@given(_any, _any)
def test_client_wins_always_takes_and_server_wins_never(stored: Version, write: Version):
    taken, kept = PLAIN.resolve(stored, write, Policy.CLIENT_WINS), PLAIN.resolve(stored, write, Policy.SERVER_WINS)
    if taken.reason is not Reason.SAME:
        assert taken.accepted
        assert taken.version.updated_at > stored.updated_at
    assert _seen(replace(taken.version, updated_at=NOON)) == _seen(replace(write, updated_at=NOON))
    assert (kept.accepted, kept.version) == (False, stored)


@given(
    st.lists(st.tuples(_put, st.booleans(), st.booleans(), st.sampled_from(list(Policy))), min_size=1, max_size=6),
)
def test_the_furthest_position_falls_only_when_somebody_who_knew_it_says_so(
    writes: list[tuple[Version, bool, bool, Policy]],
):
    held: Version | None = None
    for offset, (write, knew, explicit, policy) in enumerate(writes):
        base = held.offset if held is not None and knew else None
        named = frozenset({"furthest"}) if explicit else frozenset[str]()
        new = RULED.resolve(held, replace(write, offset=base, explicit=named), policy).version
        if held is not None and not (knew and explicit):
            assert _furthest(new) >= _furthest(held)
        held = replace(new, offset=offset)


def _furthest(version: Version) -> float:
    assert version.fields is not None
    return float(version.fields.get("furthest") or 0)
