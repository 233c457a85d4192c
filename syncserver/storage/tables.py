"""The tables that every synced resource stands on, as values. Migrations make them; a test holds both equal."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

metadata = sa.MetaData()
UNSEEN = {"unseen": True}
"""What marks a column that is made from others, and that no client sees."""


def stamp(name: str, *, nullable: bool = False, default: bool = False) -> sa.Column[datetime]:
    """A column for a moment; `default`: now, where a row does not say it."""
    moment = sa.DateTime(timezone=True)
    return sa.Column(name, moment, nullable=nullable, server_default=sa.func.now() if default else None)


def written() -> list[sa.Column[Any]]:
    """The columns that say who wrote a synced row, and when."""
    return [sa.Column("device_id", sa.Text), sa.Column("device_name", sa.Text), stamp("updated_at")]


channels = sa.Table(
    "channels",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("head", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("floor", sa.BigInteger, nullable=False, server_default="0"),
)

changes = sa.Table(
    "changes",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("resource", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("op", sa.Text, nullable=False),
    stamp("updated_at"),
    sa.Column("device_id", sa.Text),
    stamp("removed_at", nullable=True),
    sa.UniqueConstraint("owner", "offset", name="changes_owner_offset_key"),
    sa.Index("changes_removed_at_idx", "removed_at", postgresql_where=sa.text("removed_at IS NOT NULL")),
)

epoch = sa.Table(
    "epoch",
    metadata,
    sa.Column("one", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("system_identifier", sa.Text, nullable=False),
    sa.Column("timeline", sa.BigInteger, nullable=False),
)

conflicts = sa.Table(
    "conflicts",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("id", pg.UUID(as_uuid=False), primary_key=True),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("winner", pg.JSONB, nullable=False),
    sa.Column("loser", pg.JSONB, nullable=False),
    stamp("created_at", default=True),
    stamp("restored_at", nullable=True),
    sa.Index("conflicts_owner_created_at_idx", "owner", "created_at"),
    sa.Index("conflicts_created_at_idx", "created_at"),
)

mutations = sa.Table(
    "mutations",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("client_id", sa.Text, primary_key=True),
    sa.Column("mutation_id", pg.UUID(as_uuid=False), primary_key=True),
    sa.Column("offset", sa.BigInteger),
    sa.Column("ack", pg.JSONB, nullable=False),
    stamp("created_at", default=True),
    stamp("claimed_at", nullable=True),
    sa.Index("mutations_owner_offset_idx", "owner", "offset", postgresql_where=sa.text('"offset" IS NOT NULL')),
    sa.Index("mutations_created_at_idx", "created_at"),
)

temporary_keys = sa.Table(
    "temporary_keys",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("client_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("key", sa.Text),
    stamp("created_at", default=True),
    sa.Index("temporary_keys_created_at_idx", "created_at"),
)

tickets = sa.Table(
    "tickets",
    metadata,
    sa.Column("hash", pg.BYTEA, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    stamp("token_expires_at", nullable=True),
    stamp("expires_at"),
    sa.Column("token_id", sa.Text),
    stamp("issued_at", nullable=True),
    sa.Index("tickets_expires_at_idx", "expires_at"),
)

revocations = sa.Table(
    "revocations",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("token_id", sa.Text, primary_key=True),
    stamp("before", nullable=True),
    stamp("expires_at"),
    sa.Index("revocations_expires_at_idx", "expires_at"),
)

reading_times = sa.Table(
    "reading_times",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("session_id", pg.UUID(as_uuid=False), primary_key=True),
    sa.Column("quarter", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("publication_id", sa.Text, nullable=False),
    sa.Column("active", pg.TSTZMULTIRANGE, nullable=False),
    sa.Column("pages", pg.INT4MULTIRANGE, nullable=False),
    sa.Column("span", pg.NUMMULTIRANGE, nullable=False),
    sa.Index("reading_times_owner_quarter_idx", "owner", "quarter"),
    sa.Index("reading_times_owner_publication_id_idx", "owner", "publication_id", "quarter"),
)

_SESSION = ["sessions.owner", "sessions.id"]

node_numbers = sa.Table(
    "node_numbers",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("session_id", pg.UUID(as_uuid=False), primary_key=True),
    sa.Column("last", sa.BigInteger, nullable=False),
    sa.ForeignKeyConstraint(
        ["owner", "session_id"],
        _SESSION,
        name="node_numbers_session_fkey",
        ondelete="CASCADE",
        deferrable=True,
        initially="IMMEDIATE",
    ),
)

imports = sa.Table(
    "imports",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("id", pg.UUID(as_uuid=False), primary_key=True),
    sa.Column("session_id", pg.UUID(as_uuid=False), nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("cancelling", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("report", pg.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    stamp("seen_at", default=True),
    stamp("created_at", default=True),
    sa.ForeignKeyConstraint(
        ["owner", "session_id"],
        _SESSION,
        name="imports_session_fkey",
        ondelete="CASCADE",
        deferrable=True,
        initially="IMMEDIATE",
    ),
    sa.Index("imports_created_at_idx", "created_at"),
    sa.Index(
        "imports_running_idx", "owner", "session_id", unique=True, postgresql_where=sa.text("state = 'running'::text")
    ),
)

processes = sa.Table(
    "processes",
    metadata,
    sa.Column("id", pg.UUID(as_uuid=False), primary_key=True),
    stamp("seen_at"),
)

presences = sa.Table(
    "presences",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("connection", pg.UUID(as_uuid=False), primary_key=True),
    sa.Column("process", pg.UUID(as_uuid=False), nullable=False),
    sa.Column("device_id", sa.Text, nullable=False),
    sa.Column("device_name", sa.Text),
    sa.Column("app", sa.Text),
    sa.Column("state", sa.Text),
    stamp("since"),
    stamp("seen_at"),
    sa.Index("presences_process_idx", "process"),
)

notes = sa.Table(
    "notes",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("connection", pg.UUID(as_uuid=False)),
    sa.Column("device_id", sa.Text),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Index("notes_created_at_idx", "created_at"),
)
