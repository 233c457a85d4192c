"""How readers sign in, as the operator set it up: whose tokens are believed, by which rules, and who makes them."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from syncserver.app import secret
from syncserver.app.settings import Settings
from syncserver.core.errors import SetupError
from syncserver.engine import jwks, tokens, trust
from syncserver.engine.jwks import Jwks
from syncserver.engine.tokens import Rules
from syncserver.engine.trust import Fixed, Trust, TrustedKey

SETTINGS = (
    "token_secret_file",
    "token_key_file",
    "token_jwks_url",
    "token_issuer",
    "token_audience",
    "token_subject",
)
_SOURCES = ("token_secret_file", "token_key_file", "token_jwks_url")
_COOKIE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

Mint = Callable[[str, datetime, timedelta, str | None], str]
"""From a reader's name, a beginning, a length and an id to a token."""


def rules(settings: Settings) -> Rules:
    """What readers' tokens have to say."""
    required = tuple(name.strip() for name in settings.token_required.split(",") if name.strip())
    return Rules(
        settings.token_issuer, settings.token_audience, settings.token_leeway_s, required, settings.token_subject
    )


def trusted(settings: Settings, own: bytes) -> Trust:
    """Who signs readers' tokens; `own` is the server's secret. Raises SetupError for what cannot be meant."""
    _cookie(settings)
    named = [name for name in _SOURCES if getattr(settings, name) is not None]
    if len(named) > 1:
        raise SetupError(
            f"{_variable(named[0])} and {_variable(named[1])} are both set.", "Tokens come from one place: keep one."
        )
    if settings.token_jwks_url is not None:
        return _published(settings, settings.token_jwks_url)
    if settings.token_key_file is not None:
        return Fixed(_read("token_key_file", settings.token_key_file, trust.of_pem))
    return Fixed([_shared(settings, own)])


def minting(settings: Settings) -> Mint:
    """What makes readers' tokens here; raises SetupError where that is somebody else's work."""
    for name in ("token_key_file", "token_jwks_url"):
        if getattr(settings, name) is not None:
            raise SetupError(
                f"With {_variable(name)} this server makes no tokens.", "Get one from whoever signs them for it."
            )
    key = _shared(settings, secret.load(settings.data_dir)).key
    if not isinstance(key, bytes):
        raise TypeError(type(key))
    return lambda user, now, ttl, token_id: tokens.mint(key, user, now, ttl, rules=rules(settings), token_id=token_id)


def described(settings: Settings) -> str:
    """The same for people; raises SetupError as `trusted` does."""
    trusted(settings, bytes(48))
    if settings.token_jwks_url is not None:
        return "Readers' tokens are verified with the keys at SYNCSERVER_TOKEN_JWKS_URL."
    if settings.token_key_file is not None:
        return "Readers' tokens are verified with the keys in SYNCSERVER_TOKEN_KEY_FILE."
    if settings.token_secret_file is not None:
        return "Readers' tokens are signed with the secret in SYNCSERVER_TOKEN_SECRET_FILE."
    return "Readers' tokens are signed with the secret in the data folder."


def _published(settings: Settings, url: str) -> Jwks:
    if not jwks.is_safe(url):
        raise SetupError(
            "SYNCSERVER_TOKEN_JWKS_URL is no address that can be believed.",
            "It begins with https://, or with http:// where the provider runs on this machine.",
        )
    if settings.token_issuer is None:
        raise SetupError(
            "SYNCSERVER_TOKEN_JWKS_URL is set without SYNCSERVER_TOKEN_ISSUER.",
            "Name the issuer as its tokens do (`iss`), and SYNCSERVER_TOKEN_AUDIENCE where they have one (`aud`).",
        )
    return Jwks(url, every_s=settings.token_jwks_s)


def _shared(settings: Settings, own: bytes) -> TrustedKey:
    if settings.token_secret_file is None:
        return trust.of_secret(own)
    [key] = _read("token_secret_file", settings.token_secret_file, lambda text: [trust.of_secret(text.strip())])
    return key


def _read(name: str, path: Path, keys: Callable[[bytes], list[TrustedKey]]) -> list[TrustedKey]:
    try:
        return keys(path.read_bytes())
    except OSError as error:
        raise SetupError(
            f"The file in {_variable(name)} cannot be read: {error.strerror}.",
            "See that it is there, and that the user of the server may read it.",
        ) from None
    except ValueError as error:
        raise SetupError(f"The file in {_variable(name)} cannot be used. {error}", _ADVICE[name]) from None


_ADVICE = {
    "token_secret_file": "Write the secret there that tokens are signed with, such as `openssl rand -hex 32` makes.",
    "token_key_file": "Write public keys there in PEM form: RSA (2048 bits or more), P-256 or Ed25519.",
}


def _cookie(settings: Settings) -> None:
    if settings.cookie is not None and not _COOKIE.fullmatch(settings.cookie):
        raise SetupError(
            "SYNCSERVER_COOKIE is no name that a cookie can have.", "Use letters, digits, - and _, as __Host-token."
        )


def _variable(name: str) -> str:
    return f"SYNCSERVER_{name.upper()}"
