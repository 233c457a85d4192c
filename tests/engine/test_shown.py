"""Which token a request shows, and when a cookie is not taken."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core.errors import Forbidden, ForbiddenOrigin, Malformed, Unauthorised
from syncserver.engine import shown
from syncserver.engine.shown import Cookie

OWN = "https://sync.example"
COOKIE = Cookie("__Host-token", ["https://app.sync.example", "*"])
HEADERS = {"host": "sync.example", "cookie": "theme=dark; __Host-token=abc; x=y"}


def of(method: str = "GET", **headers: str) -> str | None:
    """What is shown with these headers beside the cookie (a name in Python's spelling)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return shown.token(COOKIE, method, {**HEADERS, **named}, {})


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Bearer abc", "abc"),
        ("bearer   abc ", "abc"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("abc", None),
        ("", None),
    ],
)
def test_the_header_goes_first_and_where_there_is_one_no_cookie_counts(header: str, found: str | None):
    assert shown.token(Cookie(), "POST", {"authorization": header}, {}) == found
    assert of("POST", authorization=header, sec_fetch_site="cross-site") == found


@pytest.mark.parametrize("name", ["token", "access_token"])
def test_a_token_in_a_url_is_refused_whatever_else_there_is(name: str):
    with pytest.raises(Malformed, match="URL") as refused:
        shown.token(Cookie(), "GET", {"authorization": "Bearer abc"}, {name: "gooseberry"})
    assert "gooseberry" not in refused.value.detail


def test_no_cookie_is_looked_at_unless_the_operator_names_it():
    for cookie in (Cookie(), Cookie("token"), Cookie("__host-token")):
        assert shown.token(cookie, "GET", HEADERS, {}) is None
        assert cookie.of_socket(HEADERS) is None


def test_what_only_reads_needs_nothing_but_the_cookie():
    assert of() == of("HEAD") == "abc"
    assert of(sec_fetch_site="same-origin") == of(sec_fetch_site="none") == of(origin=OWN) == "abc"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "ANYTHING"])
def test_what_changes_something_needs_an_origin_and_the_header(method: str):
    for origin in (OWN, "https://app.sync.example"):
        assert of(method, origin=origin, sync_csrf="1") == "abc"
        with pytest.raises(Forbidden, match="Sync-Csrf"):
            of(method, origin=origin)
    with pytest.raises(ForbiddenOrigin, match="Origin"):
        of(method, sync_csrf="1")


FOREIGN: list[dict[str, str]] = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "https://sync.example.evil.example"},
    {"origin": "https://evil.example", "sec_fetch_site": "same-origin"},
    {"origin": OWN, "sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "cross-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_of_other_sites_may_not_use_it(method: str, headers: dict[str, str]):
    """Not even where every origin is let in: such a page has to bring the token itself."""
    with pytest.raises(ForbiddenOrigin):
        of(method, **headers, sync_csrf="1")


@pytest.mark.parametrize("headers", [*FOREIGN, {}], ids=str)
def test_a_socket_has_to_name_its_page(headers: dict[str, str]):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with pytest.raises(ForbiddenOrigin):
        COOKIE.of_socket({**HEADERS, **named})
    assert COOKIE.of_socket({**HEADERS, "origin": OWN}) == "abc"
    assert COOKIE.of_socket({"host": "sync.example"}) is None


def test_of_two_cookies_of_the_name_none_is_believed():
    with pytest.raises(Unauthorised, match="two cookies"):
        of(cookie="__Host-token=abc; __Host-token=evil")


@given(st.text(max_size=60))
def test_whatever_stands_in_the_cookie_header_it_is_read_or_refused(text: str):
    try:
        found: Any = shown.token(COOKIE, "GET", {"cookie": text}, {})
    except Unauthorised:
        return
    assert found is None or f"__Host-token={found}" in text
