"""What a visitor owned, given to a signed-in reader: rows of any resource, the ledger, names, conflicts and times.

Nothing is deleted here: when at last the session's own row changes hands, its trigger takes what is left.
"""

from collections.abc import Sequence
from functools import lru_cache
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.storage.resource import Resource

_SESSION = sa.text("SELECT owner FROM sessions WHERE id = :id FOR UPDATE")
_DEFERRED = sa.text("SET CONSTRAINTS ALL DEFERRED")

# An offset in an answer says from where on a client holds its write: in the new log, from its present head on.
_LEDGER = sa.text("""
    INSERT INTO mutations (owner, client_id, mutation_id, ack, created_at, claimed_at)
    SELECT :user, m.client_id, m.mutation_id,
      m.ack || CASE WHEN m.ack ? 'offset' THEN h.now ELSE '{}' END
            || CASE WHEN m.ack ? 'row' THEN jsonb_build_object('row', m.ack->'row' || h.now) ELSE '{}' END,
      m.created_at, m.claimed_at
    FROM mutations m CROSS JOIN (
      SELECT jsonb_build_object('offset', coalesce(max(head), 0)) AS now FROM channels WHERE owner = :user
    ) h
    WHERE m.owner = :visitor
    ON CONFLICT DO NOTHING
""")
_NAMES = sa.text("""
    INSERT INTO temporary_keys (owner, client_id, name, resource, key, created_at)
    SELECT :user, client_id, name, resource, key, created_at FROM temporary_keys WHERE owner = :visitor
    ON CONFLICT DO NOTHING
""")
_CONFLICTS = sa.text("""
    INSERT INTO conflicts (owner, id, resource, key, policy, reason, winner, loser, created_at, restored_at)
    SELECT :user, id, resource, key, policy, reason, winner, loser, created_at, restored_at
    FROM conflicts WHERE owner = :visitor
    ON CONFLICT DO NOTHING
""")

_TIMES = sa.text("""
    INSERT INTO reading_times AS t (owner, session_id, quarter, publication_id, active, pages, span)
    SELECT :user, session_id, quarter, publication_id, active, pages, span FROM reading_times WHERE owner = :visitor
    ON CONFLICT (owner, session_id, quarter) DO UPDATE SET
      active = t.active + excluded.active, pages = t.pages + excluded.pages, span = t.span + excluded.span
""")


async def begin(connection: AsyncConnection, session_id: UUID) -> str | None:
    """Whose session it is, locked to the end of the transaction; None: of nobody whom this transaction names."""
    await connection.execute(_DEFERRED)  # rows of several tables may name each other, and go one table after the other
    owner: str | None = (await connection.execute(_SESSION, {"id": str(session_id)})).scalar_one_or_none()
    return owner


@lru_cache
def _clashes(resource: Resource) -> sa.TextClause:
    return sa.text(f"""
        SELECT t.{resource.key}::text FROM {resource.table.name} t
        WHERE t.owner = :visitor AND EXISTS (
          SELECT FROM changes c WHERE c.owner = :user AND c.resource = :resource AND c.key = t.{resource.key}::text
        ){_at_home(resource)} ORDER BY 1
    """)


def _at_home(resource: Resource) -> str:
    """SQL: the row `t` has a home in the new house. One whose home was removed there goes with the session."""
    if resource.belongs is None:
        return ""
    home = resource.belongs.resource
    found = f"SELECT FROM {home.table.name} h WHERE h.owner = :user AND h.{home.key} = t.{resource.belongs.field}"
    return f" AND EXISTS ({found})"


async def clashes(connection: AsyncConnection, resource: Resource, visitor: str, user: str) -> Sequence[str]:
    """The keys of the visitor's rows that the user has, or had, too."""
    arguments = {"visitor": visitor, "user": user, "resource": resource.name}
    return list((await connection.execute(_clashes(resource), arguments)).scalars())


@lru_cache
def _move(resource: Resource) -> sa.TextClause:
    key = resource.key
    return sa.text(f"""
        UPDATE {resource.table.name} t SET owner = :user
        WHERE t.owner = :visitor AND t.{key}::text <> ALL (CAST(:but AS text[])){_at_home(resource)}
    """)


async def move(connection: AsyncConnection, resource: Resource, visitor: str, user: str, but: Sequence[str]) -> int:
    """Give all of the visitor's rows, `but` those of these keys, to the user as they are; how many."""
    return (await connection.execute(_move(resource), {"user": user, "visitor": visitor, "but": list(but)})).rowcount


async def move_records(connection: AsyncConnection, visitor: str, user: str) -> None:
    """Give the visitor's ledger, temporary names, conflicts and times of reading to the user, and keep the user's."""
    for statement in (_LEDGER, _NAMES, _CONFLICTS, _TIMES):
        await connection.execute(statement, {"user": user, "visitor": visitor})
