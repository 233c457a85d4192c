import pytest

from syncserver.core import origin

BOOKS = origin.listed("https://books.example, http://Reader.local:3000/")


@pytest.mark.parametrize(
    ("shown", "host"),
    [
        (None, "sync.example"),
        (None, None),
        ("https://sync.example", "sync.example"),
        ("https://SYNC.example", "sync.example:443"),
        ("https://sync.example:443", "sync.example"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("http://[::1]", "[::1]:80"),
        ("https://books.example", "sync.example"),
        ("http://reader.local:3000", "sync.example"),
    ],
)
def test_let_in(shown: str | None, host: str | None):
    assert origin.let_in(shown, host, BOOKS)


@pytest.mark.parametrize(
    ("shown", "host"),
    [
        ("https://evil.example", "sync.example"),
        ("https://sync.example.evil.example", "sync.example"),
        ("https://sync.example:8443", "sync.example"),
        ("http://127.0.0.1:3000", "127.0.0.1:8000"),
        ("http://books.example", "sync.example"),  # listed with https only
        ("https://books.example:444", "sync.example"),
        ("null", "null"),
        ("", ""),
        ("file://", ""),
        ("chrome-extension://sync.example", "sync.example"),
        ("https://", None),
        ("https://sync.example", None),
    ],
)
def test_not_let_in(shown: str, host: str | None):
    assert not origin.let_in(shown, host, BOOKS)


def test_any():
    assert origin.let_in("null", "sync.example", origin.listed("*"))


@pytest.mark.parametrize("text", ["books.example", "https://", "https://books.example/reader", "https://a.example?x"])
def test_what_is_no_origin_is_refused(text: str):
    with pytest.raises(ValueError, match="an origin is"):
        origin.listed(text)


def test_nothing_is_listed_in_nothing():
    assert origin.listed(" , ") == frozenset()
