"""Bearer tokens: what is let in, and what is turned away without repeating it."""

import asyncio
import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core.actor import OWNER_MAX_CHARS, Actor
from syncserver.core.errors import Unauthorised
from syncserver.engine import tokens, trust
from syncserver.engine.tokens import Rules
from syncserver.engine.trust import Trust
from tests import provider
from tests.provider import KINDS, pem, private

SECRET = b"a secret for tests, long enough for any algorithm there is"
OTHER = b"another secret for tests, as long as the first one of them is"
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
NOT_OURS = "The token is not one that this server accepts."


def verify(token: str) -> Actor:
    return asyncio.run(_verify(token))


async def _verify(token: str) -> Actor:
    return await tokens.verifier(SECRET)(token)


def signed(claims: dict[str, Any] | bytes, secret: bytes = SECRET, algorithm: str = "HS256", **more: Any) -> str:
    """A token written by hand, so that it may hold what no library would put in."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    header = json.dumps({"alg": algorithm, "typ": "JWT", **more}).encode()
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
    assert (actor.owner, actor.expires_at, actor.issued_at) == ("user:ada", NOW + HOUR, NOW)


def test_each_minted_token_has_an_id_by_which_it_can_be_taken_back():
    ids = {verify(tokens.mint(SECRET, "ada", NOW, HOUR)).token_id for _ in range(5)}
    assert None not in ids
    assert len(ids) == 5
    assert verify(tokens.mint(SECRET, "ada", NOW, HOUR, token_id="t1")).token_id == "t1"


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
        signed(claims(iat="yesterday")),
        signed(claims(iat=-(10**30))),
        signed(claims(jti=5)),
        signed(claims(jti="")),
        signed(claims(jti="a\0b")),
        signed(claims(jti="x" * 256)),
        signed(claims(), typ="session+jwt"),
        signed(claims(sub="{}"), typ="session+jwt"),
        signed(claims(), typ="logout+jwt"),
        signed(claims(), typ=5),
        signed(claims(), crit=["exp"]),
        signed(claims(), crit=[]),
        signed(claims(), crit=["b64"], b64=True),
        signed(claims(), b64=False),
        signed(claims(), kid=5),
        signed(claims(), kid=None),
        signed(b'{"sub": "eve", "sub": "ada", "exp": 9999999999}'),
        signed(b'{"sub": "ada", "exp": 9999999999, "more": {"a": 1, "a": 2}}'),
        signed(b'{"sub": "ada", "exp": 9999999999, "more": NaN}'),
        signed(b"[1]"),
        signed(b"\xff"),
        signed(b'{"sub": "ada", "exp": 9999999999, "more": ' + b"[" * 9000),
    ],
    ids=lambda _: "",
)
def test_what_this_server_did_not_sign_is_turned_away_whatever_it_is(token: str):
    assert refused(token) in {NOT_OURS, "The token has expired.", "The token lacks a claim that this server requires."}


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


def seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def verify_by(trusted: Trust | None, token: str, rules: Rules | None = None) -> Actor:
    return asyncio.run(_verify_by(trusted, token, rules or Rules()))


async def _verify_by(trusted: Trust | None, token: str, rules: Rules) -> Actor:
    return await tokens.verifier(SECRET, trusted, rules)(token)


def refused_by(trusted: Trust | None, token: str, rules: Rules | None = None) -> str:
    with pytest.raises(Unauthorised) as error:
        verify_by(trusted, token, rules)
    return error.value.detail


def by_key(kind: str, number: int = 0, **changed: Any) -> str:
    return jwt.encode(provider.claims(**changed), provider.private(kind, number), algorithm=kind)


ALL = trust.Fixed([key for kind in KINDS for key in trust.of_pem(pem(private(kind)))])


# -- by what they are signed -------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_signed_with_a_private_key_is_let_in_by_the_public_one(kind: str):
    only = trust.Fixed(trust.of_pem(pem(private(kind))))
    for trusted in (ALL, only):
        actor = verify_by(trusted, by_key(kind))
        assert (actor.owner, actor.token_id) == ("user:ada", "t1")
    assert refused_by(only, by_key(kind, 1)) == NOT_OURS


@pytest.mark.parametrize("kind", KINDS)
def test_with_public_keys_no_shared_secret_lets_a_reader_in(kind: str):
    only = trust.Fixed(trust.of_pem(pem(private(kind))))
    assert refused_by(only, tokens.mint(SECRET, "ada", NOW, HOUR)) == NOT_OURS
    for secret in (pem(private(kind)), pem(private(kind)).strip(), b""):
        assert refused_by(only, signed(claims(), secret)) == NOT_OURS
        assert refused_by(only, signed(claims(), secret, algorithm=kind)) == NOT_OURS


def test_any_of_several_keys_may_have_signed():
    two = trust.Fixed(trust.of_pem(pem(private("EdDSA", 1)) + pem(private("EdDSA", 2))))
    for number in (1, 2):
        assert verify_by(two, by_key("EdDSA", number)).owner == "user:ada"
    assert "expired" in refused_by(two, by_key("EdDSA", 2, exp=NOW - HOUR))


@pytest.mark.parametrize("algorithm", ["PS256", "RS384", "RS512", "none"])
def test_the_algorithm_is_the_key_s_and_not_the_token_s(algorithm: str):
    key: Any = None if algorithm == "none" else private("RS256")
    assert refused_by(ALL, jwt.encode(provider.claims(), key, algorithm=algorithm)) == NOT_OURS


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_the_token_brings_along_is_not_looked_at(kind: str):
    own = provider.jwk(kind, 9, kid="mine")
    for header in (
        {"jwk": own},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/x"},
        {"x5c": [""]},
    ):
        token = jwt.encode(provider.claims(), private(kind, 9), algorithm=kind, headers=header)
        assert refused_by(ALL, token) == NOT_OURS


# -- what they say -----------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"exp": seconds(NOW - HOUR)}, "expired"),
        ({"nbf": seconds(NOW + HOUR)}, "not valid yet"),
        ({"iat": seconds(NOW + HOUR)}, "not valid yet"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": [provider.ISSUER]}, "issuer"),
        ({"iss": None}, "lacks a claim"),
        ({"aud": "another"}, "audience"),
        ({"aud": ["another"]}, "audience"),
        ({"aud": {}}, "lacks a claim"),
        ({"aud": None}, "lacks a claim"),
        ({"scope": None}, "lacks a claim"),
        ({"email": None}, "lacks a claim"),
        ({"email": ["ada"]}, NOT_OURS),
        ({"email": ""}, "subject"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_rule_turns_away_and_says_which(changed: dict[str, Any], reason: str):
    rules = Rules(issuer=provider.ISSUER, audience="books", required=["scope"], subject="email")
    good = {"iss": provider.ISSUER, "aud": "books", "scope": "sync", "email": "ada@books.example", "sub": "7"}
    assert verify_by(None, signed(claims(**good)), rules).owner == "user:ada@books.example"
    assert verify_by(None, signed(claims(**{**good, "aud": ["x", "books"]})), rules).owner
    detail = refused_by(None, signed(claims(**{**good, **changed})), rules)
    assert reason in detail


def test_a_token_for_some_audience_is_not_for_a_server_that_names_none():
    assert "audience" in refused(signed(claims(aud="books")))


def test_the_leeway_is_as_set():
    late = signed(claims(exp=seconds(datetime.now(UTC)) - 100))
    assert "expired" in refused_by(None, late)
    assert verify_by(None, late, Rules(leeway_s=1_000)).owner == "user:ada"
    just_over = signed(claims(exp=seconds(datetime.now(UTC)) - 1))
    assert "expired" in refused_by(None, just_over, Rules(leeway_s=0))


def test_a_minted_token_holds_by_the_rules_it_was_minted_by():
    rules = Rules(issuer="me", audience="books", subject="name")
    assert verify_by(None, tokens.mint(SECRET, "ada", NOW, HOUR, rules=rules), rules).owner == "user:ada"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
def test_an_access_token_may_call_itself_one(typ: str):
    assert verify(signed(claims(), typ=typ)).owner == "user:ada"


# -- visitors' ---------------------------------------------------------------

SESSION = UUID("1b4e28ba-2fa1-4d2a-883f-0016d3cca427")


@pytest.mark.parametrize("trusted", [None, ALL])
def test_a_visitor_s_token_names_the_session_for_a_hundred_years(trusted: Trust | None):
    actor = verify_by(trusted, tokens.mint_session(SECRET, SESSION, NOW), Rules(issuer="x", audience="y", subject="z"))
    assert (actor.owner, actor.issued_at) == (f"session:{SESSION}", NOW)
    assert actor.token_id
    assert actor.expires_at
    assert actor.expires_at - NOW > timedelta(days=36_500)


def test_a_visitor_s_token_is_signed_by_the_server_and_nobody_else():
    assert refused(tokens.mint_session(OTHER, SESSION, NOW)) == NOT_OURS
    elsewhere = trust.Fixed([trust.of_secret(OTHER)])
    assert refused_by(elsewhere, tokens.mint_session(OTHER, SESSION, NOW)) == NOT_OURS
    for kind in KINDS:
        by_provider = jwt.encode(
            provider.claims(sub=str(SESSION)), private(kind), algorithm=kind, headers={"typ": "session+jwt"}
        )
        assert refused_by(ALL, by_provider) == NOT_OURS


def test_neither_kind_is_taken_for_the_other():
    """With one secret for both, only what the header calls itself keeps them apart; and that is signed."""
    head, payload, signature = tokens.mint_session(SECRET, SESSION, NOW).split(".")
    user_head = tokens.mint(SECRET, str(SESSION), NOW, HOUR).split(".")[0]
    assert refused(f"{user_head}.{payload}.{signature}") == NOT_OURS
    assert refused(".".join([head, *tokens.mint(SECRET, str(SESSION), NOW, HOUR).split(".")[1:]])) == NOT_OURS
    assert verify(tokens.mint(SECRET, f"session:{SESSION}", NOW, HOUR)).owner == f"user:session:{SESSION}"
    assert verify(tokens.mint(SECRET, str(SESSION), NOW, HOUR)).owner == f"user:{SESSION}"


# -- laws --------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_CLAIMS = st.dictionaries(st.sampled_from(["sub", "exp", "iat", "nbf", "jti", "iss", "aud", "x"]), _JSON)
_HEADERS = st.dictionaries(st.sampled_from(["typ", "kid", "crit", "jku", "jwk", "x5u", "b64", "cty", "zip"]), _JSON)


@given(_CLAIMS, _HEADERS, st.sampled_from(["HS256", "none", "RS256", "ES256", "EdDSA"]))
def test_whatever_is_in_it_it_is_let_in_or_turned_away(found: dict[str, Any], header: dict[str, Any], algorithm: str):
    for trusted in (None, ALL):
        try:
            actor = verify_by(trusted, signed(found, algorithm=algorithm, **header))
        except Unauthorised:
            continue
        assert trusted is None
        assert algorithm == "HS256"
        assert actor.owner in {f"user:{found['sub']}", f"session:{found['sub']}"}


@given(_HEADERS, st.sampled_from([*KINDS, "HS256", "none"]), _JSON)
def test_whatever_it_says_of_itself_nobody_signs_but_who_is_trusted(header: dict[str, Any], algorithm: str, alg: Any):
    for named in (algorithm, alg):
        assert refused_by(ALL, signed(claims(), OTHER, **{**header, "alg": named}))


@given(st.data())
def test_a_token_of_which_a_character_was_changed_is_none(data: st.DataObject):
    kind = data.draw(st.sampled_from(["HS256", *KINDS]))
    token = tokens.mint(SECRET, "ada", NOW, HOUR) if kind == "HS256" else by_key(kind)
    at = data.draw(st.integers(0, token.rindex(".") - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda character: character != token[at]))
    refused_by(None if kind == "HS256" else ALL, token[:at] + other + token[at + 1 :])
