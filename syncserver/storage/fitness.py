"""Is the database fit to serve from: it takes writes, and its tables are those that this server was written for."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

_WRITABLE = sa.text("SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'")
_MIGRATION = sa.text("SELECT version_num FROM alembic_version")
_RING = sa.text("SELECT pg_notify(:channel, :payload)")


@dataclass(frozen=True, slots=True)
class Fitness:
    """How fit the database is. `migration` is None where it was never migrated, or may not be looked at."""

    writable: bool
    migration: str | None


async def look(connection: AsyncConnection) -> Fitness:
    """How fit it is; after a look at a database without tables the transaction can only be rolled back."""
    writable = (await connection.execute(_WRITABLE)).scalar_one()
    try:
        migration = (await connection.execute(_MIGRATION)).scalar()
    except ProgrammingError:
        migration = None
    return Fitness(writable, migration)


async def ring(connection: AsyncConnection, channel: str, payload: str) -> None:
    """Ring a doorbell as a write does: it is heard after the commit, which has to reach the disk first."""
    await connection.execute(_RING, {"channel": channel, "payload": payload})
