"""Bearer tokens: JWTs (RFC 7519) of readers and of visitors, which the header's `typ` keeps apart (RFC 8725, 3.11).

A reader's names the reader and is signed by whoever the operator trusts; a visitor's names the session and is signed
with the server's own secret.
"""

import base64
import binascii
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import jwt

from syncserver.core.actor import Actor, session_owner, user_owner
from syncserver.core.errors import Unauthorised
from syncserver.engine import trust
from syncserver.engine.trust import Trust, TrustedKey

_ALGORITHM = "HS256"
_MAX_CHARS = 16_384
_NAME_MAX_CHARS = 255
_CENTURY = timedelta(days=36_525)
_SESSION = "session+jwt"
_USER = ("jwt", "at+jwt")
_NOT_OURS = "The token is not one that this server accepts."
_REASONS: Mapping[type[Exception], str] = {
    jwt.ExpiredSignatureError: "The token has expired.",
    jwt.ImmatureSignatureError: "The token is not valid yet.",
    jwt.InvalidIssuerError: "The token is from another issuer.",
    jwt.InvalidAudienceError: "The token is for another audience.",
    jwt.MissingRequiredClaimError: "The token lacks a claim that this server requires.",
}
"""What is said of a token whose signature is good. None repeats anything of it."""

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """What readers' tokens have to say. Without an audience no token is taken that is for one."""

    issuer: str | None = None
    audience: str | None = None
    leeway_s: float = 30
    required: Sequence[str] = ()
    subject: str = "sub"


_PLAIN = Rules()


def mint(
    secret: bytes, user: str, now: datetime, ttl: timedelta, *, rules: Rules = _PLAIN, token_id: str | None = None
) -> str:
    """A token for `user`, good from `now` for `ttl`, as `rules` ask; raises Unauthorised for a name nobody can have."""
    user_owner(user)
    named = {"iss": rules.issuer, "aud": rules.audience}
    claims = {
        **{name: value for name, value in named.items() if value is not None},
        rules.subject: user,
        "jti": token_id or str(uuid4()),
        "iat": now,
        "exp": now + ttl,
    }
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def mint_session(secret: bytes, session_id: UUID, now: datetime) -> str:
    """A visitor's token, good for a hundred years: it ends with the session."""
    claims = {"sub": str(session_id), "jti": str(uuid4()), "iat": now, "exp": now + _CENTURY}
    return jwt.encode(claims, secret, algorithm=_ALGORITHM, headers={"typ": _SESSION})


class _Good(NamedTuple):
    """A token that was verified: whose it is, while the clock is between these times and these keys are believed."""

    actor: Actor
    begins: float
    ends: float
    trusted: Trust
    edition: int


class Verifier:
    """From token to actor; it raises Unauthorised with a reason that repeats nothing of the token.

    What was verified is remembered, of `most` tokens at most: a signature that was good stays good as long as nobody
    takes its key away. When a token begins and ends is looked at each time. `clock`: seconds since 1970.
    """

    def __init__(
        self, own: Trust, believed: Trust, rules: Rules, *, most: int = 20_000, clock: Callable[[], float] = time.time
    ) -> None:
        self._own = own
        self._believed = believed
        self._rules = rules
        self._most = most
        self._clock = clock
        self._good: dict[bytes, _Good] = {}

    def __len__(self) -> int:
        return len(self._good)

    def known(self, token: str) -> Actor | None:
        """The actor of a token that was verified before and still holds; None where only verifying it can tell."""
        good = self._good.get(_digest(token))
        if good is None or good.edition != good.trusted.edition or not good.begins <= self._clock() < good.ends:
            return None
        return good.actor

    async def __call__(self, token: str) -> Actor:
        """The actor of this token; raises Unauthorised, and Unavailable where the keys to verify it cannot be had."""
        return self.known(token) or await self._verified(token)

    async def _verified(self, token: str) -> Actor:
        header = _header(token)
        kind = _kind(header)
        if kind == _SESSION:
            trusted, rules, name, named = self._own, _PLAIN, None, _visitor
        elif kind in _USER:
            trusted, rules, name, named = self._believed, self._rules, header.get("kid"), partial(_reader, self._rules)
        else:
            raise Unauthorised(_NOT_OURS)
        keys = await trusted.keys(header["alg"], name)
        edition = trusted.edition
        claims = _claims(token, keys, rules)
        actor = named(claims)
        self._remember(token, _Good(actor, *_times(actor, claims, rules.leeway_s), trusted, edition))
        return actor

    def _remember(self, token: str, good: _Good) -> None:
        if len(self._good) >= self._most:
            del self._good[next(iter(self._good))]
        self._good[_digest(token)] = good


def verifier(secret: bytes, users: Trust | None = None, rules: Rules = _PLAIN) -> Verifier:
    """The verifier of these tokens. `secret`: the server's own, the only one for visitors' tokens.

    `users`: who signs readers' (None: that secret too); Unavailable where their keys cannot be had.
    """
    own = trust.Fixed([TrustedKey(_ALGORITHM, secret)])
    return Verifier(own, users or own, rules)


def _digest(token: str) -> bytes:
    """What stands for a token in memory, which may be printed some day."""
    return blake2b(token.encode(errors="surrogatepass")).digest()


def _header(token: str) -> Mapping[str, Any]:
    """What the token says of itself; raises Unauthorised."""
    if len(token) > _MAX_CHARS:
        raise Unauthorised("The token is too long.")
    header = _object(token.partition(".")[0])
    if not isinstance(header.get("alg"), str) or not isinstance(header.get("kid"), str | None) or "crit" in header:
        raise Unauthorised(_NOT_OURS)
    return header


def _kind(header: Mapping[str, Any]) -> str:
    kind = header.get("typ", "JWT")
    return kind.lower().removeprefix("application/") if isinstance(kind, str) else ""


def _claims(token: str, keys: Sequence[TrustedKey], rules: Rules) -> Claims:
    """The claims of a token that one of these keys signed, and that holds by these rules; raises Unauthorised."""
    for key in keys:
        try:
            jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                issuer=rules.issuer,
                audience=rules.audience,
                leeway=rules.leeway_s,
                options={"require": ["exp", rules.subject, *rules.required]},
            )
        except jwt.InvalidSignatureError:
            continue
        except (jwt.PyJWTError, ValueError, OverflowError) as error:
            raise Unauthorised(_REASONS.get(type(error), _NOT_OURS)) from None
        return _object(token.split(".")[1])
    raise Unauthorised(_NOT_OURS)


def _object(part: str) -> dict[str, Any]:
    """The JSON object that a part of a token is, each of its names once; raises Unauthorised."""
    try:
        text = base64.b64decode(part.encode("ascii") + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_none)
    except (binascii.Error, ValueError, RecursionError):
        raise Unauthorised(_NOT_OURS) from None
    if not isinstance(found, dict):
        raise Unauthorised(_NOT_OURS)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _none(_: str) -> None:
    raise ValueError("no number")


def _reader(rules: Rules, claims: Claims) -> Actor:
    name = claims[rules.subject]
    if not isinstance(name, str):
        raise Unauthorised(_NOT_OURS)
    return _actor(user_owner(name), claims)


def _visitor(claims: Claims) -> Actor:
    try:
        session_id = UUID(claims["sub"])
    except ValueError:
        raise Unauthorised(_NOT_OURS) from None
    return _actor(session_owner(session_id), claims)


def _actor(owner: str, claims: Claims) -> Actor:
    token_id = claims.get("jti")
    if token_id is not None and not (0 < len(token_id) <= _NAME_MAX_CHARS and token_id.isprintable()):
        raise Unauthorised(_NOT_OURS)
    try:
        expires_at = _stamp(claims["exp"])
        issued_at = _stamp(claims["iat"]) if "iat" in claims else None
    except (ValueError, OverflowError, OSError):  # times that Python cannot hold
        raise Unauthorised(_NOT_OURS) from None
    return Actor(owner, expires_at, token_id, issued_at)


def _times(actor: Actor, claims: Claims, leeway_s: float) -> tuple[float, float]:
    """From when until when a token with these good claims holds."""
    begins = max((float(int(claims[name])) for name in ("nbf", "iat") if name in claims), default=-math.inf)
    ends = actor.expires_at.timestamp() if actor.expires_at is not None else math.inf
    return begins - leeway_s, ends + leeway_s


def _stamp(number: Any) -> datetime:
    return datetime.fromtimestamp(int(number), UTC)
