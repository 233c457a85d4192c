"""Keys that are made up of a place and an own id."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core import within
from syncserver.core.errors import Invalid
from syncserver.core.within import Within

PLACE = "018f6f2e-4f0a-7c3a-9d3e-0a1b2c3d4e5f"
OTHER = "018f6f2e-4f0a-7c3a-9d3e-0a1b2c3d4e60"
NODES = Within("session_id", within.NUMBERED, "a number such as N001", numbered=True)
NAMED = Within("session_id", within.NAMED, "a name", names=("node_id",))
_uuids = st.uuids().map(str)
_numbers = st.integers(1, within.NUMBER_MAX)


@given(_uuids, _numbers, st.booleans())
def test_a_key_is_kept_in_one_way_of_writing(place: str, number: int, shout: bool):
    key = f"{place.upper() if shout else place}:{within.numbered(number)}"
    kept = NODES.canonical(key)
    assert kept == f"{place}:{within.numbered(number)}"
    assert NODES.canonical(kept) == kept
    assert within.number(kept) == number


@given(_numbers, _numbers)
def test_numbers_have_one_own_id_each(one: int, other: int):
    assert (within.numbered(one) == within.numbered(other)) is (one == other)


@pytest.mark.parametrize("number", [1, 9, 10, 99, 999, 1_000, 999_999_999])
def test_an_own_id_has_three_digits_at_least(number: int):
    assert within.numbered(number) == f"N{str(number).rjust(3, '0')}"


@given(st.text(max_size=80))
def test_what_is_no_key_is_refused_and_all_else_kept(text: str):
    for kind in (NODES, NAMED):
        try:
            kept = kind.canonical(text)
        except ValueError:
            continue
        place, own = kept.split(":")
        assert str(UUID(place)) == place
        assert kind.own.fullmatch(own)


@pytest.mark.parametrize(
    "key",
    [
        *("", ":", PLACE, f"{PLACE}:", f"{PLACE}:N000", f"{PLACE}:N1", f"{PLACE}:N0001", f"{PLACE}:N001:x", ":N001"),
        *(f"{PLACE}:N1234567890", f" {PLACE}:N001", f"{PLACE}:N001 ", f"{PLACE}:N001\n", f"x{PLACE[1:]}:N001"),
    ],
)
def test_a_wrong_key_is_refused(key: str):
    with pytest.raises(ValueError, match="a UUID, a colon and a number such as N001"):
        NODES.canonical(key)


@pytest.mark.parametrize("own", ["a", "A-b_c.d~e", "0", "x" * 64])
def test_own_ids_may_be_names(own: str):
    assert NAMED.canonical(f"{PLACE}:{own}") == f"{PLACE}:{own}"


@pytest.mark.parametrize("own", ["", "a b", "a/b", "ä", "x" * 65, "a\n"])
def test_own_ids_may_not_be_just_anything(own: str):
    with pytest.raises(ValueError, match="a UUID"):
        NAMED.canonical(f"{PLACE}:{own}")


def test_a_whole_row_is_told_its_place_by_its_key_and_part_of_one_is_not():
    key = f"{PLACE}:c1"
    assert NAMED.local(key, {"type": "text"}, whole=True) == {"type": "text", "session_id": PLACE}
    assert NAMED.local(key, {"type": "text"}, whole=False) == {"type": "text"}
    said = {"session_id": PLACE.upper(), "type": "text"}
    assert NAMED.local(key, said, whole=True) == {"session_id": PLACE, "type": "text"}


def test_a_row_without_a_key_says_its_place_itself():
    assert NODES.local("", {"session_id": PLACE.upper()}, whole=True) == {"session_id": PLACE}
    for fields in ({}, {"session_id": "moby"}, {"session_id": None}, {"session_id": 7}):
        with pytest.raises(Invalid) as found:
            NODES.local("", fields, whole=True)
        assert [error["pointer"] for error in found.value.errors] == ["/data/session_id"]


@pytest.mark.parametrize("fields", [{"session_id": OTHER}, {"node_id": f"{OTHER}:N001"}])
def test_a_row_stands_and_names_others_in_its_own_place_only(fields: dict[str, Any]):
    with pytest.raises(Invalid) as found:
        NAMED.local(f"{PLACE}:c1", fields, whole=False)
    assert [error["pointer"] for error in found.value.errors] == [f"/data/{next(iter(fields))}"]


@pytest.mark.parametrize("name", ["N001", f"{PLACE}:N001", f"{PLACE.upper()}:N001"])
def test_another_row_is_named_by_its_own_id_or_its_key(name: str):
    assert NAMED.local(f"{PLACE}:c1", {"node_id": name}, whole=False) == {"node_id": "N001"}
