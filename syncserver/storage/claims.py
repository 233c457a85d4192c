"""What a visitor owned, given to a signed-in reader: rows of any resource, and all that is kept beside them.

Nothing is deleted here: when at last the session's own row changes hands, its trigger takes what is left.
"""

from collections.abc import Sequence
from functools import lru_cache
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.storage.changes import as_key
from syncserver.storage.resource import Catalog, Resource

_SESSION = sa.text("SELECT owner FROM sessions WHERE id = :id FOR UPDATE")
_DEFERRED = sa.text("SET CONSTRAINTS ALL DEFERRED")

# An offset in an answer says from where on a client holds its write: in the new log, from what is newest there on.
_LEDGER = sa.text("""
    INSERT INTO mutations (owner, client_id, mutation_id, ack, created_at, claimed_at)
    SELECT :user, m.client_id, m.mutation_id,
      m.ack || CASE WHEN m.ack ? 'offset' THEN h.now ELSE '{}' END
            || CASE WHEN m.ack ? 'row' THEN jsonb_build_object('row', m.ack->'row' || h.now) ELSE '{}' END,
      m.created_at, m.claimed_at
    FROM mutations m CROSS JOIN (
      SELECT jsonb_build_object('offset', coalesce(max("offset"), 0)) AS now FROM changes WHERE owner = :user
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


_NUMBERS = sa.text("""
    INSERT INTO node_numbers (owner, session_id, last) SELECT :user, session_id, last FROM node_numbers
    WHERE owner = :visitor
""")
_IMPORTS = sa.text("""
    INSERT INTO imports (owner, id, session_id, state, cancelling, report, seen_at, created_at)
    SELECT :user, id, session_id, state, cancelling, report, seen_at, created_at FROM imports WHERE owner = :visitor
""")


async def begin(connection: AsyncConnection, session_id: UUID) -> str | None:
    """Whose session it is, locked to the end of the transaction; None: of nobody whom this transaction names."""
    await connection.execute(_DEFERRED)  # rows of several tables may name each other, and go one table after the other
    owner: str | None = (await connection.execute(_SESSION, {"id": str(session_id)})).scalar_one_or_none()
    return owner


@lru_cache
def _clashes(catalog: Catalog, resource: Resource) -> sa.TextClause:
    key = as_key(f"t.{resource.key}")
    return sa.text(f"""
        SELECT t.{resource.key}::text FROM {resource.table.name} t
        WHERE t.owner = :visitor AND EXISTS (
          SELECT FROM changes c WHERE c.owner = :user AND c.resource = :resource AND c.key = {key}
        ){_at_home(catalog, resource)} ORDER BY 1
    """)


def _at_home(catalog: Catalog, resource: Resource) -> str:
    """SQL: the row `t` has its homes in the new house. One whose home was removed there goes with the session.

    A home that no client writes cannot have been: the session itself, which comes last.
    """
    homes = [(belongs, catalog[belongs.resource]) for belongs in resource.belongs]
    return "".join(
        f" AND EXISTS (SELECT FROM {home.table.name} h WHERE h.owner = :user AND h.{home.key} = t.{belongs.home})"
        for belongs, home in homes
        if not home.read_only
    )


async def clashes(
    connection: AsyncConnection, catalog: Catalog, resource: Resource, visitor: str, user: str
) -> Sequence[str]:
    """The keys of the visitor's rows that the user has, or had, too."""
    arguments = {"visitor": visitor, "user": user, "resource": resource.name}
    return list((await connection.execute(_clashes(catalog, resource), arguments)).scalars())


@lru_cache
def _move(catalog: Catalog, resource: Resource) -> sa.TextClause:
    key = resource.key
    return sa.text(f"""
        UPDATE {resource.table.name} t SET owner = :user
        WHERE t.owner = :visitor AND t.{key}::text <> ALL (CAST(:but AS text[])){_at_home(catalog, resource)}
    """)


async def move(
    connection: AsyncConnection, catalog: Catalog, resource: Resource, visitor: str, user: str, but: Sequence[str]
) -> int:
    """Give all of the visitor's rows, `but` those of these keys, to the user as they are; how many."""
    arguments = {"user": user, "visitor": visitor, "but": list(but)}
    return (await connection.execute(_move(catalog, resource), arguments)).rowcount


async def move_records(connection: AsyncConnection, visitor: str, user: str) -> None:
    """Give the visitor's ledger, temporary names, conflicts and all else that is not synced to the user.

    What the user has stays.
    """
    for statement in (_LEDGER, _NAMES, _CONFLICTS, _TIMES, _NUMBERS, _IMPORTS):
        await connection.execute(statement, {"user": user, "visitor": visitor})
