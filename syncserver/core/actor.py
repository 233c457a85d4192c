"""Who asks, and whose rows those are: `user:ada` is an owner, the actor is ada with a token that ends some day."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from syncserver.core.errors import Unauthorised

OWNER_MAX_CHARS = 255


@dataclass(frozen=True, slots=True)
class Actor:
    """One who has shown a valid token. `owner` is whose rows the actor may touch: its own and no other's.

    `token_id` and `issued_at` are the token's (`jti` and `iat`), by which it can be revoked; None where it has none.
    """

    owner: str
    expires_at: datetime | None = None
    token_id: str | None = None
    issued_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """One installation of an app: a random id that it keeps, and what people call it."""

    id: str
    name: str | None = None


def user_owner(name: str) -> str:
    """The owner of a signed-in reader's rows; raises Unauthorised for a name that no owner can have."""
    if not name or len(name) > OWNER_MAX_CHARS - len("user:") or not name.isprintable():
        raise Unauthorised("The token's subject is empty, too long, or holds control characters.")
    return f"user:{name}"


def session_owner(session_id: UUID) -> str:
    """The owner of a visitor's rows."""
    return f"session:{session_id}"


def session_id(owner: str) -> UUID | None:
    """The anonymous session that this owner is; None for a signed-in reader."""
    kind, _, name = owner.partition(":")
    return UUID(name) if kind == "session" else None
