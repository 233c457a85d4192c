"""The rows of anonymous sessions. What else a session owns goes with its row, by the database's own doing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.actor import session_owner

_BEGIN = sa.text("""
    INSERT INTO sessions (owner, id, updated_at)
    SELECT owner, id, clock_timestamp() FROM unnest(CAST(:owners AS text[]), CAST(:ids AS uuid[])) AS s (owner, id)
    RETURNING id, created_at, last_accessed, expires_at
""")
_FURNISH = sa.text("""
    INSERT INTO nodes (owner, id, session_id, updated_at)
    SELECT s.owner, s.id || ':' || n.own, s.id, clock_timestamp()
    FROM unnest(CAST(:owners AS text[]), CAST(:ids AS uuid[])) AS s (owner, id)
    CROSS JOIN unnest(ARRAY['N001', 'N002']) AS n (own)
""")
_TOUCH = sa.text("""
    UPDATE sessions SET last_accessed = greatest(last_accessed, clock_timestamp()) WHERE owner = :owner AND id = :id
    RETURNING created_at, last_accessed, expires_at
""")
_FIND = sa.text("SELECT created_at, last_accessed, expires_at FROM sessions WHERE owner = :owner AND id = :id")
_END = sa.text("DELETE FROM sessions WHERE owner = :owner AND id = :id")


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a session: nothing but times."""

    created_at: datetime
    last_accessed: datetime
    expires_at: datetime


async def begin(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, Kept]:
    """New sessions, each of a visitor of its own; the transaction names all of these owners."""
    rows = await connection.execute(_BEGIN, _of_all(ids))
    return {row[0]: Kept(*row[1:]) for row in rows}


async def furnish(connection: AsyncConnection, ids: Sequence[UUID]) -> None:
    """Give each of these new sessions the nodes that a workspace begins with: N001 and N002, empty."""
    if ids:
        await connection.execute(_FURNISH, _of_all(ids))


async def touch(connection: AsyncConnection, owner: str, session_id: UUID) -> Kept | None:
    """The session of this owner, accessed now, in one statement that is no change to anybody; None if there is none."""
    row = (await connection.execute(_TOUCH, _of(owner, session_id))).one_or_none()
    return Kept(*row) if row is not None else None


async def find(connection: AsyncConnection, owner: str, session_id: UUID) -> Kept | None:
    """The same, looked at and left alone."""
    row = (await connection.execute(_FIND, _of(owner, session_id))).one_or_none()
    return Kept(*row) if row is not None else None


async def end(connection: AsyncConnection, owner: str, session_id: UUID) -> bool:
    """The session goes; a visitor's takes with it all that it owned. False: there is none."""
    return (await connection.execute(_END, _of(owner, session_id))).rowcount > 0


def _of_all(ids: Sequence[UUID]) -> dict[str, list[str]]:
    return {"owners": [session_owner(session_id) for session_id in ids], "ids": [str(each) for each in ids]}


def _of(owner: str, session_id: UUID) -> dict[str, str]:
    return {"owner": owner, "id": str(session_id)}
