from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core.actor import OWNER_MAX_CHARS, user_owner
from syncserver.core.errors import Unauthorised


@given(st.text(min_size=1, max_size=OWNER_MAX_CHARS + 10))
def test_a_name_becomes_an_owner_that_the_database_can_hold_or_is_refused(name: str):
    owner = None
    with suppress(Unauthorised):
        owner = user_owner(name)
    assert owner is None or (owner == f"user:{name}" and len(owner) <= OWNER_MAX_CHARS and "\0" not in owner)


@pytest.mark.parametrize("name", ["", "\0", "a\nb", "a" * 251, "\ud800"])
def test_empty_too_long_and_unprintable_names_are_refused(name: str):
    with pytest.raises(Unauthorised):
        user_owner(name)
