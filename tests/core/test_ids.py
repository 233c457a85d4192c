"""UUIDv7: of the version that it says, in the order of time, and never twice the same."""

from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from syncserver.core import ids

_random = st.binary(min_size=ids.RANDOM_BYTES, max_size=ids.RANDOM_BYTES)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_moments = st.integers(0, 8 * 10**15).map(lambda passed: _EPOCH + timedelta(microseconds=passed))
_earlier = st.integers(86_400, 5 * 10**10).map(lambda seconds: _EPOCH - timedelta(seconds=seconds))


@given(_moments, _random)
def test_it_is_a_uuid_of_version_seven_in_its_canonical_text(at: datetime, random: bytes):
    made = UUID(ids.uuid7(at, random))
    assert (made.version, made.variant) == (7, RFC_4122)
    assert str(made) == ids.uuid7(at, random)


@given(_moments, _random)
def test_its_first_six_bytes_are_the_milliseconds_since_1970(at: datetime, random: bytes):
    milliseconds = int.from_bytes(UUID(ids.uuid7(at, random)).bytes[:6], "big")
    assert abs(_EPOCH + milliseconds * _MILLISECOND - at) <= _MILLISECOND


@given(_moments, st.integers(2, 10**9), _random, _random)
def test_ids_sort_by_the_time_at_which_they_were_made_whatever_their_random_part(
    at: datetime, later: int, one: bytes, other: bytes
):
    assert ids.uuid7(at, one) < ids.uuid7(at + later * _MILLISECOND, other)


@given(_moments, _random, _random)
def test_of_one_moment_they_are_unlike_where_74_random_bits_are(at: datetime, one: bytes, other: bytes):
    mask = (1 << 74) - 1
    unlike = int.from_bytes(one, "big") & mask != int.from_bytes(other, "big") & mask
    assert (ids.uuid7(at, one) != ids.uuid7(at, other)) is unlike


@given(_earlier, _random)
def test_a_moment_before_1970_gives_an_id_all_the_same(at: datetime, random: bytes):
    made = UUID(ids.uuid7(at, random))
    assert made.version == 7
    assert made.bytes[:6] == bytes(6)
