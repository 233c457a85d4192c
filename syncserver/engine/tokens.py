"""Bearer tokens: JWTs (RFC 7519) of readers and of visitors, which the header's `typ` keeps apart (RFC 8725, 3.11).

A reader's names the reader and is signed by whoever the operator trusts; a visitor's names the session and is signed
with the server's own secret.
"""

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
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


def verifier(secret: bytes, users: Trust | None = None, rules: Rules = _PLAIN) -> Callable[[str], Awaitable[Actor]]:
    """A function from token to actor; it raises Unauthorised with a reason that repeats nothing of the token.

    `secret`: the server's own, the only one for visitors' tokens. `users`: who signs readers' (None: that secret too).
    It raises Unavailable where the keys of `users` cannot be had.
    """
    own = trust.Fixed([TrustedKey(_ALGORITHM, secret)])
    believed = users or own

    async def verify(token: str) -> Actor:
        header = _header(token)
        kind = _kind(header)
        if kind == _SESSION:
            return _visitor(_claims(token, await own.keys(header["alg"], None), _PLAIN))
        if kind not in _USER:
            raise Unauthorised(_NOT_OURS)
        return _reader(_claims(token, await believed.keys(header["alg"], header.get("kid")), rules), rules)

    return verify


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


def _reader(claims: Claims, rules: Rules) -> Actor:
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


def _stamp(number: Any) -> datetime:
    return datetime.fromtimestamp(int(number), UTC)
