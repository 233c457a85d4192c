"""Bearer tokens: what is let in, and what is turned away without repeating it."""

import asyncio
import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core.actor import OWNER_MAX_CHARS, Actor
from syncserver.core.errors import Unauthorised
from syncserver.engine import tokens

SECRET = b"a secret for tests, long enough for any algorithm there is"
OTHER = b"another secret for tests, as long as the first one of them is"
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


def verify(token: str) -> Actor:
    return asyncio.run(_verify(token))


async def _verify(token: str) -> Actor:
    return await tokens.verifier(SECRET)(token)


def signed(claims: dict[str, Any] | bytes, secret: bytes = SECRET, algorithm: str = "HS256") -> str:
    """A token written by hand, so that it may hold what no library would put in."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    header = json.dumps({"alg": algorithm, "typ": "JWT"}).encode()
    signing = f"{_encoded(header)}.{_encoded(payload)}"
    return f"{signing}.{_encoded(hmac.new(secret, signing.encode(), hashlib.sha256).digest())}"


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def claims(**changed: Any) -> dict[str, Any]:
    made = {"sub": "ada", "iat": int(NOW.timestamp()), "exp": int((NOW + HOUR).timestamp()), **changed}
    return {name: value for name, value in made.items() if value is not None}


def refused(token: str) -> str:
    with pytest.raises(Unauthorised) as error:
        verify(token)
    assert error.value.__cause__ is None
    return error.value.detail


def test_a_minted_token_names_the_reader_and_its_end():
    actor = verify(tokens.mint(SECRET, "ada", NOW, HOUR))
    assert (actor.owner, actor.expires_at) == ("user:ada", NOW + HOUR)


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=250))
def test_any_printable_name_comes_back_as_it_was(name: str):
    assert verify(tokens.mint(SECRET, name, NOW, HOUR)).owner == f"user:{name}"


@pytest.mark.parametrize("name", ["", "a" * (OWNER_MAX_CHARS - 4), "a\nb", "a\0b", "\x1b[2J", "\u202eada", "\u2028"])
def test_a_name_that_no_owner_can_have_is_neither_minted_nor_let_in(name: str):
    with pytest.raises(Unauthorised):
        tokens.mint(SECRET, name, NOW, HOUR)
    assert "subject" in refused(signed(claims(sub=name)))


def test_the_longest_name_fits():
    name = "a" * (OWNER_MAX_CHARS - 5)
    assert len(verify(tokens.mint(SECRET, name, NOW, HOUR)).owner) == OWNER_MAX_CHARS


def test_an_expired_token_says_so():
    assert "expired" in refused(tokens.mint(SECRET, "ada", NOW - 2 * HOUR, HOUR))


def test_a_clock_that_is_a_little_off_is_forgiven():
    ended = datetime.now(UTC) - timedelta(seconds=10)
    assert verify(tokens.mint(SECRET, "ada", ended - HOUR, HOUR)).owner == "user:ada"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "no token at all",
        "a.b.c",
        "....",
        "\N{BOOKS}.\N{BOOKS}.\N{BOOKS}",
        "\ud800.a.b",
        f"{_encoded(b'[' * 9000)}.e30.AA",
        tokens.mint(OTHER, "ada", NOW, HOUR),
        tokens.mint(SECRET, "ada", NOW, HOUR)[:-2],
        jwt.encode(claims(), "", algorithm="none"),
        jwt.encode(claims(), OTHER * 2, algorithm="HS512"),
        jwt.encode(claims(), SECRET * 2, algorithm="HS512"),
        signed(claims(), algorithm="none"),
        signed(claims(), algorithm="RS256"),
        signed(claims(exp=None)),
        signed(claims(sub=None)),
        signed(claims(sub=1)),
        signed(claims(sub=["ada"])),
        signed(claims(exp="tomorrow")),
        signed(claims(exp=1e18)),
        signed(claims(exp=float("inf"))),
        signed(claims(exp=-(10**30))),
        signed(claims(exp=10**30)),
        signed(claims(exp=[1])),
        signed(claims(nbf=int((NOW + HOUR).timestamp()))),
        signed(b"[1]"),
        signed(b"\xff"),
        signed(b'{"sub": "ada", "exp": 9999999999, "more": ' + b"[" * 9000),
    ],
)
def test_what_this_server_did_not_sign_is_turned_away_whatever_it_is(token: str):
    assert refused(token) in {"The token is not one that this server gave.", "The token has expired."}


def test_an_end_written_as_text_is_read():
    assert verify(signed(claims(exp=str(int((NOW + HOUR).timestamp()))))).expires_at == NOW + HOUR


def test_a_token_that_is_too_long_is_not_read():
    assert "too long" in refused(signed(claims(more="x" * 20_000)))


@given(st.text(max_size=60))
def test_no_text_gets_in_or_comes_back(token: str):
    detail = refused(token)
    assert len(token) < 4 or token not in detail


def test_an_error_repeats_nothing_of_the_token():
    token = tokens.mint(OTHER, "gooseberry", NOW, HOUR)
    told = refused(token) + refused(signed(claims(sub="goose\nberry"))) + refused(signed(claims(sub="g" * 999)))
    assert "goose" not in told
    assert not any(part in told for part in token.split("."))
