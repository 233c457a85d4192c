"""What the log forgets in time: tombstones (the floor rises with them), answers, names, conflicts, imports."""

from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

Kept = Literal["mutations", "temporary_keys", "conflicts", "imports"]
"""Tables whose rows are kept for a time."""

_DUE = sa.text("SELECT sync_expirable_v1(:before, :count)")
_EXPIRE = sa.text("SELECT sync_expire_v1(:owner, :before)")
_FORGET = sa.text("SELECT sync_forget_v2(:table, :before, :count)")


async def owners_due(connection: AsyncConnection, before: datetime, limit: int) -> list[str]:
    """Owners of the oldest tombstones, `limit` of them looked at, that stand since before this moment."""
    return list((await connection.execute(_DUE, {"before": before, "count": limit})).scalars())


async def tombstones(connection: AsyncConnection, owner: str, before: datetime) -> int:
    """Forget the owner's tombstones that stand since before this moment and raise the floor past them; how many."""
    return int((await connection.execute(_EXPIRE, {"owner": owner, "before": before})).scalar_one())


async def forget(connection: AsyncConnection, table: Kept, before: datetime, limit: int) -> int:
    """Forget at most `limit` rows made before this moment; how many."""
    return int((await connection.execute(_FORGET, {"table": table, "before": before, "count": limit})).scalar_one())
