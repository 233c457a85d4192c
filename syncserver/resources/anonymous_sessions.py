"""Anonymous sessions: a house of one's own without a name. Its row is seen by its devices, and never written by them.

A session's rows belong to the owner `session:<id>`. Once a reader has claimed it, this row tells that reader's devices.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from syncserver.core import values
from syncserver.storage import tables
from syncserver.storage.resource import Resource


class Session(values.Model):
    """Nothing of it is a client's to write."""


_table = sa.Table(
    "sessions",
    tables.metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("id", pg.UUID(as_uuid=False), primary_key=True),
    tables.stamp("created_at", default=True),
    tables.stamp("last_accessed", default=True),
    sa.Column(
        "expires_at",
        sa.DateTime(timezone=True),
        nullable=False,
        server_default=sa.text("(now() + '100 years'::interval)"),
    ),
    sa.Column("device_id", sa.Text),
    tables.stamp("updated_at"),
    sa.UniqueConstraint("id", name="sessions_id_key"),
    sa.Index("sessions_owner_updated_at_idx", "owner", "updated_at"),
)

RESOURCES = [Resource(name="sessions", table=_table, key="id", model=Session, read_only=True, silent=True)]
