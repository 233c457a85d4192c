"""Digests of rows: the one that clients are told to make, and the laws that make a comparison worth something."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core import digest
from syncserver.core.values import Digest

Row = tuple[str, str, int, datetime]

STAMP = datetime(2026, 3, 1, 8, 15, 0, 120, UTC)
_rows = st.tuples(
    st.sampled_from(["progress", "conversations"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.integers(1, 2**63 - 1),
    st.datetimes(datetime(1, 1, 2), datetime(9998, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
)
_many = st.lists(_rows, max_size=20, unique_by=lambda row: row[:2])


def of(rows: Sequence[Row]) -> Digest:
    return digest.of(digest.row(*row) for row in rows)


def test_one_row_is_the_hash_of_its_text():
    # printf 'progress\nmoby-dick\n7\n2026-03-01T08:15:00.000120Z' | sha256sum
    assert of([("progress", "moby-dick", 7, STAMP)]) == Digest(rows=1, xor="f65f461473c12545")


def test_no_rows_are_zero():
    assert of([]) == Digest(rows=0, xor="0000000000000000")


@pytest.mark.parametrize(("bits", "text"), [(0, "0" * 16), (2**64 - 1, "f" * 16), (-1, "f" * 16), (10, "0" * 15 + "a")])
def test_bits_are_written_as_sixteen_digits_signed_or_not(bits: int, text: str):
    assert digest.digits(bits) == text


@given(_many, st.randoms(use_true_random=False))
def test_the_order_does_not_matter(rows: list[Row], random: Random):
    shuffled = rows.copy()
    random.shuffle(shuffled)
    assert of(shuffled) == of(rows)


@given(_many, _rows)
def test_an_additional_or_missing_row_is_seen(rows: list[Row], another: Row):
    with_it, without = of([*rows, another]), of(rows)
    assert with_it.rows == without.rows + 1
    assert with_it.xor != without.xor


@given(_many.filter(bool), st.sampled_from(["resource", "key", "offset", "updated_at"]))
def test_a_row_of_another_version_is_seen(rows: list[Row], part: str):
    resource, key, offset, stamp = rows[0]
    changed = {
        "resource": (resource + "x", key, offset, stamp),
        "key": (resource, key + "x", offset, stamp),
        "offset": (resource, key, offset - 1, stamp),
        "updated_at": (resource, key, offset, stamp + timedelta(microseconds=1)),
    }[part]
    assert of([changed, *rows[1:]]).rows == of(rows).rows
    assert of([changed, *rows[1:]]).xor != of(rows).xor


@given(_many, _rows, _rows)
def test_two_rows_that_swap_their_versions_are_seen(rows: list[Row], one: Row, other: Row):
    swapped = [(*one[:2], *other[2:]), (*other[:2], *one[2:])]
    same = set(swapped) == {one, other} or one[:2] == other[:2]
    assert same or of([*rows, one, other]) != of([*rows, *swapped])
