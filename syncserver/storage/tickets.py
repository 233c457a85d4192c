"""Single-use tickets, of which the database holds only the hash. Whoever deletes the row has redeemed it."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.actor import Actor

_KEEP = sa.text("""
    INSERT INTO tickets (hash, owner, token_expires_at, token_id, issued_at, expires_at)
    VALUES (:hash, :owner, :token_expires_at, :token_id, :issued_at,
      clock_timestamp() + make_interval(secs => :for_s))
""")
_REDEEM = sa.text("SELECT owner, token_expires_at, token_id, issued_at FROM sync_redeem_v2(:hash)")


async def keep(connection: AsyncConnection, hashed: bytes, actor: Actor, for_s: float) -> None:
    """Keep a ticket's hash, and the key that it stands for, for so many seconds of the database's clock."""
    await connection.execute(
        _KEEP,
        {
            "hash": hashed,
            "owner": actor.owner,
            "token_expires_at": actor.expires_at,
            "token_id": actor.token_id,
            "issued_at": actor.issued_at,
            "for_s": for_s,
        },
    )


async def redeem(connection: AsyncConnection, hashed: bytes) -> Actor | None:
    """Whose ticket it was, with the key that got it, once; None if there is no such ticket (any more)."""
    row = (await connection.execute(_REDEEM, {"hash": hashed})).one_or_none()
    return Actor(*row) if row is not None and row[0] is not None else None
