"""Whose signatures are believed. What a key is decides the algorithm; what a token says of itself decides nothing.

A shared secret verifies HS256, an RSA key RS256, a P-256 key ES256, an Ed25519 key EdDSA, and nothing else.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

PUBLIC = ("RS256", "ES256", "EdDSA")
_SHARED = "HS256"
_SECRET_BYTES = 32
_RSA_BITS = (2048, 8192)
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)
_UNREADABLE = (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, OverflowError)

_KINDS: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A key, the one algorithm that it verifies, and its name (`kid`) where it has one."""

    algorithm: str
    key: PublicKey | bytes
    kid: str | None = None


class Trust(Protocol):
    """Where the keys are from."""

    @property
    def edition(self) -> int:
        """Another number than before, where a key that was believed may not be believed any more."""

    async def keys(self, algorithm: str, kid: str | None) -> Sequence[TrustedKey]:
        """Those that may have signed a token of this algorithm and kid; raises Unavailable where nobody can tell."""


class Fixed:
    """Keys that stay as they are while the server runs. They have no names, so a token's kid does not choose."""

    edition = 0

    def __init__(self, keys: Sequence[TrustedKey]) -> None:
        self._keys = keys

    async def keys(self, algorithm: str, kid: str | None) -> Sequence[TrustedKey]:  # noqa: ARG002 - see Trust
        """Those of this algorithm."""
        return [key for key in self._keys if key.algorithm == algorithm]


def of_secret(secret: bytes) -> TrustedKey:
    """A shared secret; raises ValueError with a sentence for one that is too short or no secret at all."""
    if len(secret) < _SECRET_BYTES:
        raise ValueError(f"The secret is shorter than {_SECRET_BYTES} bytes.")
    if b"-----BEGIN" in secret:
        raise ValueError("This is a key in PEM form, not a secret.")
    return TrustedKey(_SHARED, secret)


def of_pem(text: bytes) -> list[TrustedKey]:
    """The public keys in a PEM file; raises ValueError with a sentence for what is no such file."""
    found = list(_PEM.finditer(text))
    if not found:
        raise ValueError("There is no key in PEM form.")
    return [_of_block(block[0], block[1].decode()) for block in found]


def _of_block(block: bytes, label: str) -> TrustedKey:
    if "PRIVATE" in label:
        raise ValueError("There is a private key: this server needs the public one, and nobody else's private key.")
    if label not in {"PUBLIC KEY", "RSA PUBLIC KEY"}:
        raise ValueError(f"There is a {label.lower()} where a public key belongs.")
    try:
        return _of(load_pem_public_key(block), None)
    except (UnsupportedAlgorithm, ValueError) as error:
        raise ValueError(str(error) if isinstance(error, _Weak) else "A key cannot be read.") from None


def of_jwk(entry: Mapping[str, Any]) -> TrustedKey | None:
    """The key that an entry of a JWK set is; None for one that is not for us: of another kind or use, or unreadable."""
    read = _KINDS.get(str(entry.get("kty")))
    kid = entry.get("kid")
    if read is None or entry.get("use", "sig") != "sig" or not isinstance(kid, str | None):
        return None
    try:
        if "verify" not in entry.get("key_ops", ["verify"]):
            return None
        key = _of(read(dict(entry)), kid)
    except _UNREADABLE:
        return None
    return key if entry.get("alg", key.algorithm) == key.algorithm else None


class _Weak(ValueError):
    """A key that should not be used, or not by us; the sentence says why."""


def _of(key: object, kid: str | None) -> TrustedKey:
    match key:
        case RSAPublicKey() if not _RSA_BITS[0] <= key.key_size <= _RSA_BITS[1]:
            raise _Weak(f"An RSA key has {key.key_size} bits; {_RSA_BITS[0]} to {_RSA_BITS[1]} are taken.")
        case RSAPublicKey():
            return TrustedKey("RS256", key, kid)
        case EllipticCurvePublicKey() if isinstance(key.curve, SECP256R1):
            return TrustedKey("ES256", key, kid)
        case Ed25519PublicKey():
            return TrustedKey("EdDSA", key, kid)
        case _:
            raise _Weak("A key is of another kind than RSA, P-256 or Ed25519.")
