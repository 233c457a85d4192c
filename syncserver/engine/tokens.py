"""Bearer tokens: a JWT (RFC 7519), HS256 with the server's secret, whose subject is the reader's name."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import jwt

from syncserver.core.actor import Actor, user_owner
from syncserver.core.errors import Unauthorised

_ALGORITHM = "HS256"
_LEEWAY_S = 30
_MAX_CHARS = 16_384


def mint(secret: bytes, user: str, now: datetime, ttl: timedelta) -> str:
    """A token for `user`, good from `now` for `ttl`; raises Unauthorised for a name that no owner can have."""
    user_owner(user)
    return jwt.encode({"sub": user, "iat": now, "exp": now + ttl}, secret, algorithm=_ALGORITHM)


def verifier(secret: bytes) -> Callable[[str], Awaitable[Actor]]:
    """A function from token to actor; it raises Unauthorised with a reason that repeats nothing of the token."""

    async def verify(token: str) -> Actor:
        if len(token) > _MAX_CHARS:
            raise Unauthorised("The token is too long.")
        try:
            claims = jwt.decode(
                token, secret, algorithms=[_ALGORITHM], leeway=_LEEWAY_S, options={"require": ["sub", "exp"]}
            )
            expires_at = datetime.fromtimestamp(int(claims["exp"]), UTC)
        except jwt.ExpiredSignatureError:
            raise Unauthorised("The token has expired.") from None
        except (jwt.InvalidTokenError, ValueError, OverflowError, OSError):  # text or times that Python cannot hold
            raise Unauthorised("The token is not one that this server gave.") from None
        return Actor(user_owner(claims["sub"]), expires_at)

    return verify
