from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from syncserver.core import ids

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_RANDOM = st.binary(min_size=ids.RANDOM_BYTES, max_size=ids.RANDOM_BYTES)


@given(st.lists(st.tuples(st.integers(-5_000, 5_000), _RANDOM), max_size=50))
def test_ids_rise_whatever_the_clock_and_chance_do(made: list[tuple[int, bytes]]):
    rising = ids.Rising()
    found = [rising.next(NOW + timedelta(microseconds=at), random) for at, random in made]
    assert found == sorted(set(found))
    assert {UUID(one).version for one in found} <= {7}


@given(_RANDOM)
def test_the_first_is_that_of_its_moment(random: bytes):
    assert ids.Rising().next(NOW, random) == ids.uuid7(NOW, random)
