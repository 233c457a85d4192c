"""Which keys are believed, and for which one algorithm."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from syncserver.engine import trust
from tests.provider import KINDS, jwk, pem, private

WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_key_is_decides_the_algorithm(kind: str):
    [of_file] = trust.of_pem(pem(private(kind)))
    of_set = trust.of_jwk(jwk(kind, kid="k"))
    assert of_set is not None
    assert (of_file.algorithm, of_set.algorithm, of_set.kid) == (kind, kind, "k")


def test_a_file_may_hold_several_keys_with_words_between():
    text = b"the old one\n" + pem(private("RS256")) + b"\nthe new one\n" + pem(private("EdDSA")) + pem(private("ES256"))
    assert [key.algorithm for key in trust.of_pem(text)] == ["RS256", "EdDSA", "ES256"]


_SECRET_KEY = private("ES256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "no key in PEM form"),
        (b"ssh-ed25519 AAAA", "no key in PEM form"),
        (b"\xff\x00", "no key in PEM form"),
        (_SECRET_KEY, "private key"),
        (pem(private("ES256")) + _SECRET_KEY, "private key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "certificate"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "cannot be read"),
        (b"-----BEGIN PUBLIC KEY-----\n\xff\xfe\n-----END PUBLIC KEY-----", "cannot be read"),
        (pem(WEAK), "1024 bits"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "another kind"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_holds_anything_else_is_refused_with_a_sentence(text: bytes, sentence: str):
    with pytest.raises(ValueError, match=sentence) as refused:
        trust.of_pem(text)
    assert "AAAA" not in str(refused.value)


@pytest.mark.parametrize("secret", [b"", b"x" * 31, pem(private("ES256"))], ids=lambda _: "")
def test_what_is_no_secret_is_refused(secret: bytes):
    with pytest.raises(ValueError, match="secret"):
        trust.of_secret(secret)


def _weak() -> dict[str, Any]:
    return RSAAlgorithm.to_jwk(WEAK.public_key(), as_dict=True)


def _p384() -> dict[str, Any]:
    return ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "k"},
        {"kty": ["RSA"]},
        {"kty": "RSA", "n": "AQAB"},
        {"kty": "RSA", "n": "\N{BOOKS}", "e": 5},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        jwk("RS256", use="enc"),
        jwk("RS256", alg="RS512"),
        jwk("RS256", alg="HS256"),
        jwk("ES256", alg="RS256"),
        jwk("ES256", kid=5),
        jwk("EdDSA", key_ops=["sign"]),
        jwk("EdDSA", key_ops=5),
        jwk("ES256", y=None),
        _weak(),
        _p384(),
    ],
    ids=lambda entry: str(entry.get("kty")),
)
def test_an_entry_that_is_not_for_us_is_passed_over(entry: dict[str, Any]):
    assert trust.of_jwk(entry) is None


def test_an_entry_need_not_say_what_it_is_for():
    bare = trust.of_jwk(jwk("ES256", alg=None, use=None))
    assert bare is not None
    assert (bare.algorithm, bare.kid) == ("ES256", None)


def test_of_an_entry_with_a_private_key_only_nothing_is_taken():
    assert trust.of_jwk(RSAAlgorithm.to_jwk(private("RS256"), as_dict=True)) is None


_VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.lists(st.text(max_size=3), max_size=3)


@given(
    st.dictionaries(st.sampled_from(["kty", "n", "e", "x", "y", "crv", "kid", "use", "alg", "key_ops", "d"]), _VALUES)
)
def test_whatever_an_entry_holds_it_is_read_or_passed_over(entry: dict[str, Any]):
    for kind in ("RSA", "EC", "OKP"):
        assert trust.of_jwk({**entry, "kty": kind}) is None
    trust.of_jwk(entry)
