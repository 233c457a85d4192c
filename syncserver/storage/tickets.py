"""Single-use tickets, of which the database holds only the hash. Whoever deletes the row has redeemed it."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

_KEEP = sa.text("""
    INSERT INTO tickets (hash, owner, token_expires_at, expires_at)
    VALUES (:hash, :owner, :token_expires_at, clock_timestamp() + make_interval(secs => :for_s))
""")
_REDEEM = sa.text("SELECT owner, token_expires_at FROM sync_redeem_v1(:hash)")


async def keep(
    connection: AsyncConnection, hashed: bytes, owner: str, token_expires_at: datetime | None, for_s: float
) -> None:
    """Keep a ticket's hash for so many seconds of the database's clock."""
    await connection.execute(
        _KEEP, {"hash": hashed, "owner": owner, "token_expires_at": token_expires_at, "for_s": for_s}
    )


async def redeem(connection: AsyncConnection, hashed: bytes) -> tuple[str, datetime | None] | None:
    """Whose ticket it was and when that token ends, once; None if there is no such ticket (any more)."""
    row = (await connection.execute(_REDEEM, {"hash": hashed})).one_or_none()
    return (row[0], row[1]) if row is not None and row[0] is not None else None
