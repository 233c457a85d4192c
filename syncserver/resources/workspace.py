"""The workspace of a session: nodes, the components that each consists of, and what relates the nodes.

Ids are unique within a session only: a key is `<session id>:<own id>`. What belongs to a node goes with it.
"""

from datetime import datetime
from typing import Annotated, Any
from uuid import uuid4

import sqlalchemy as sa
from pydantic import AfterValidator, ConfigDict, Field
from sqlalchemy.dialects import postgresql as pg

from syncserver.core import rank, values, within
from syncserver.core.locator import storable
from syncserver.core.within import Within
from syncserver.storage import tables
from syncserver.storage.resource import Belongs, Fields, Resource

TITLE_MAX_CHARS = 255
CONTENT_MAX_CHARS = 64_000
METADATA_MAX_BYTES = 16_384
CONFIG_MAX_BYTES = 65_536

_SOME_ID = "018f6f2e-4f0a-7c3a-9d3e-0a1b2c3d4e5f"

NodeId = Annotated[str, Field(pattern=f"^{within.NUMBERED.pattern}$", description="Such as N001: that of a node.")]
_Type = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(values.clean)]
_Rank = Annotated[str, Field(max_length=rank.MAX_CHARS, pattern="^[0-9A-Za-z]*[1-9A-Za-z]$")]
_Metadata = Annotated[dict[str, Any], AfterValidator(storable), values.within(METADATA_MAX_BYTES)]
_Config = Annotated[dict[str, Any], AfterValidator(storable), values.within(CONFIG_MAX_BYTES)]


class Node(values.Model):
    """What a client writes of a node. Its key says its session, so that `session_id` may be left out."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"session_id": _SOME_ID, "title": "Ahab", "content": "The captain.", "metadata": {"colour": "white"}}
            ]
        }
    )

    session_id: values.Id
    title: Annotated[str, Field(max_length=TITLE_MAX_CHARS), AfterValidator(values.clean)] = ""
    content: Annotated[str, Field(max_length=CONTENT_MAX_CHARS), AfterValidator(storable)] = ""
    metadata: _Metadata = Field(default_factory=dict)


class Component(values.Model):
    """What a client writes of a component. Components of a node go by `rank`, and by id where that is the same.

    Without a rank, a new one stands at the end.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"session_id": _SOME_ID, "node_id": "N001", "type": "text", "config": {"size": 12}}]
        }
    )

    session_id: values.Id
    node_id: NodeId
    type: _Type
    config: _Config = Field(default_factory=dict)
    rank: _Rank | None = None


class Relationship(values.Model):
    """What a client writes of a relationship: from one node to another, or itself, of the same session."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"session_id": _SOME_ID, "from_node": "N001", "to_node": "N002", "type": "hunts", "weight": 0.5}
            ]
        }
    )

    session_id: values.Id
    from_node: NodeId
    to_node: NodeId
    type: _Type
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1
    metadata: _Metadata = Field(default_factory=dict)


def _ranked(fields: Fields, _given: frozenset[str], at: datetime) -> Fields:
    """A component that says nothing of its place stands at the end."""
    return fields if fields["rank"] is not None else {**fields, "rank": rank.at(at)}


def _text(name: str, **more: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text(collation="C"), nullable=False, **more)


def _own(name: str) -> sa.Column[str]:
    """The own id in a key."""
    return _text(name, server_default=sa.Computed("split_part(id, ':'::text, 2)", persisted=True))


def _key_of(name: str, field: str) -> sa.Column[str]:
    """The key of the node that a field names: what a foreign key goes by, and nothing that clients see."""
    computed = sa.Computed(f"(((session_id)::text || ':'::text) || {field})", persisted=True)
    return _text(name, server_default=computed, info=tables.UNSEEN)


def _object(name: str) -> sa.Column[Any]:
    return sa.Column(name, pg.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb"))


def _named() -> list[sa.Column[Any]]:
    """Whose a row is, its key, and the session in it."""
    owner = sa.Column("owner", sa.Text, primary_key=True)
    return [owner, _text("id", primary_key=True), sa.Column("session_id", pg.UUID(as_uuid=False), nullable=False)]


def _foreign(name: str, columns: list[str], to: list[str]) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(columns, to, name=name, ondelete="CASCADE", deferrable=True, initially="IMMEDIATE")


_nodes = Resource(
    name="nodes",
    table=sa.Table(
        "nodes",
        tables.metadata,
        *_named(),
        _own("node_id"),
        sa.Column(
            "number",
            sa.BigInteger,
            sa.Computed("(substr(split_part(id, ':'::text, 2), 2))::bigint", persisted=True),
            nullable=False,
            info=tables.UNSEEN,
        ),
        sa.Column("title", sa.Text, nullable=False, server_default=""),
        sa.Column("content", sa.Text, nullable=False, server_default=""),
        _object("metadata"),
        *tables.written(),
        _foreign("nodes_session_fkey", ["owner", "session_id"], ["sessions.owner", "sessions.id"]),
        sa.Index("nodes_owner_updated_at_idx", "owner", "updated_at"),
        sa.Index("nodes_owner_session_id_idx", "owner", "session_id", "number", "id"),
    ),
    key="id",
    model=Node,
    strict=True,
    filters=("session_id",),
    within=Within("session_id", within.NUMBERED, "a number such as N001", numbered=True),
    belongs=(Belongs("sessions", "session_id", order="number"),),
    fixed=frozenset({"session_id"}),
)

_components = Resource(
    name="node_components",
    table=sa.Table(
        "node_components",
        tables.metadata,
        *_named(),
        _own("component_id"),
        _text("node_id"),
        _key_of("node", "node_id"),
        _text("rank"),
        sa.Column("type", sa.Text, nullable=False),
        _object("config"),
        *tables.written(),
        _foreign("node_components_node_fkey", ["owner", "node"], ["nodes.owner", "nodes.id"]),
        sa.Index("node_components_owner_updated_at_idx", "owner", "updated_at"),
        sa.Index("node_components_owner_node_idx", "owner", "node", "rank", "id"),
    ),
    key="id",
    model=Component,
    strict=True,
    filters=("session_id", "node_id"),
    complete=_ranked,
    make_key=lambda: str(uuid4()),
    within=Within("session_id", within.NAMED, "at most 64 letters, digits and . _ ~ -", names=("node_id",)),
    belongs=(Belongs("nodes", "node_id", order="rank", column="node"),),
    fixed=frozenset({"session_id", "node_id"}),
)

_relationships = Resource(
    name="session_relationships",
    table=sa.Table(
        "session_relationships",
        tables.metadata,
        *_named(),
        _own("relationship_id"),
        _text("from_node"),
        _text("to_node"),
        _key_of("from_key", "from_node"),
        _key_of("to_key", "to_node"),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("weight", sa.Double, nullable=False, server_default=sa.text("'1'::double precision")),
        _object("metadata"),
        *tables.written(),
        _foreign("session_relationships_from_fkey", ["owner", "from_key"], ["nodes.owner", "nodes.id"]),
        _foreign("session_relationships_to_fkey", ["owner", "to_key"], ["nodes.owner", "nodes.id"]),
        sa.Index("session_relationships_owner_updated_at_idx", "owner", "updated_at"),
        sa.Index("session_relationships_owner_session_id_idx", "owner", "session_id", "id"),
        sa.Index("session_relationships_owner_from_idx", "owner", "from_key", "id"),
        sa.Index("session_relationships_owner_to_idx", "owner", "to_key", "id"),
    ),
    key="id",
    model=Relationship,
    strict=True,
    filters=("session_id", "from_node", "to_node", "type"),
    make_key=lambda: str(uuid4()),
    within=Within("session_id", within.NAMED, "at most 64 letters, digits and . _ ~ -", names=("from_node", "to_node")),
    belongs=(
        Belongs("nodes", "from_node", order="id", column="from_key"),
        Belongs("nodes", "to_node", order="id", column="to_key"),
    ),
)

RESOURCES = [_nodes, _components, _relationships]
