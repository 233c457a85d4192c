import pytest

from syncserver.core import address


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:1:2::1", "2001:db8:1:2::/64"),
        ("x" * 100, "x" * 64),
        ("", None),
        (None, None),
    ],
)
def test_one_name_for_all_that_one_guest_can_be(host: str | None, name: str | None):
    assert address.name(host) == name


def test_of_a_request_and_of_one_that_came_over_a_unix_socket():
    assert address.of({"client": ("192.0.2.7", 4711)}) == "192.0.2.7"
    assert address.of({"client": None}) is None
    assert address.of({}) is None
