"""Conversations and their messages. Who writes a message makes its conversation as new as that, in one transaction.

A conversation's title has a stamp of its own: a title that was changed offline before a message came is newer than the
title that it replaces, though the conversation is newer still.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from secrets import token_bytes
from typing import Annotated, Literal

import sqlalchemy as sa
from pydantic import AfterValidator, ConfigDict, Field
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import clock, ids, values
from syncserver.core.clock import Stamp
from syncserver.core.locator import storable
from syncserver.core.resolver import FieldPolicy
from syncserver.storage import raising, tables
from syncserver.storage.raising import Raise
from syncserver.storage.resource import Belongs, Effects, Fields, Raised, Resource, Written

TITLE_MAX_CHARS = 255
CONTENT_MAX_CHARS = 16_000
REST = timedelta(seconds=1)
"""A message that grows raises its conversation once in this time: many patches a second are no news of that."""

_SOME_ID = "018f6f2e-4f0a-7c3a-9d3e-0a1b2c3d4e5f"
_rising = ids.Rising()


class Conversation(values.Model):
    """What a client writes of a conversation. `created_at`, left out, is the time of the write that began it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "Who is Ishmael?"}]})

    title: Annotated[str, Field(min_length=1, max_length=TITLE_MAX_CHARS), AfterValidator(values.clean)]
    created_at: Stamp | None = None


class Message(values.Model):
    """What a client writes of a message: only its content ever changes."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"conversation_id": _SOME_ID, "role": "user", "content": "Who tells this story?"}]
        }
    )

    conversation_id: values.Id
    role: Literal["user", "assistant", "system"]
    content: Annotated[str, Field(min_length=1, max_length=CONTENT_MAX_CHARS), AfterValidator(storable)]
    created_at: Stamp | None = None


def _complete(fields: Fields, given: frozenset[str], at: datetime) -> Fields:
    """A row is as old as the write that made it, or as that says; none comes from the future."""
    now, created_at = clock.write(at), fields["created_at"]
    late = created_at is None or ("created_at" in given and created_at > now)
    return {**fields, "created_at": now if late else created_at}


def _make_key() -> str:
    """Keys that the server makes rise, so that messages of one moment are in the order in which they came."""
    return _rising.next(datetime.now(UTC), token_bytes(ids.RANDOM_BYTES))


async def _raise(connection: AsyncConnection, written: Sequence[Written]) -> Effects:
    """A new message, or a new content of one, makes its conversation as new as that."""
    wanted: dict[tuple[str, str], Raise] = {}
    for one in written:
        if one.after is None or (one.before and one.before["content"] == one.after["content"]):
            continue
        place = (one.owner, one.after["conversation_id"])
        told = Raise(*place, one.at, REST if one.before else timedelta())
        former = wanted.get(place, told)
        wanted[place] = Raise(*place, max(told.at, former.at), min(told.rest, former.rest))
    raised = await raising.raised(connection, _conversations, list(wanted.values()))
    return Effects([(owner, _conversations.name, key) for owner, key in raised])


_conversations = Resource(
    name="conversations",
    table=sa.Table(
        "conversations",
        tables.metadata,
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("id", pg.UUID(as_uuid=False), primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        tables.stamp("created_at", default=True),
        tables.stamp("titled_at"),
        sa.Column("title_offset", sa.BigInteger),
        *tables.written(),
        sa.Index("conversations_owner_updated_at_idx", "owner", "updated_at"),
    ),
    key="id",
    model=Conversation,
    rules={"created_at": FieldPolicy.EARLIEST},
    complete=_complete,
    make_key=_make_key,
    raised=Raised(stamp="titled_at", since="title_offset"),
)

_messages = Resource(
    name="messages",
    table=sa.Table(
        "messages",
        tables.metadata,
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("id", pg.UUID(as_uuid=False), primary_key=True),
        sa.Column("conversation_id", pg.UUID(as_uuid=False), nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        tables.stamp("created_at", default=True),
        *tables.written(),
        sa.ForeignKeyConstraint(
            ["owner", "conversation_id"],
            ["conversations.owner", "conversations.id"],
            name="messages_conversation_fkey",
            ondelete="CASCADE",
            deferrable=True,
            initially="IMMEDIATE",
        ),
        sa.Index("messages_owner_updated_at_idx", "owner", "updated_at"),
        sa.Index("messages_owner_conversation_id_idx", "owner", "conversation_id", "created_at", "id"),
    ),
    key="id",
    model=Message,
    rules={"created_at": FieldPolicy.EARLIEST},
    filters=("conversation_id", "role"),
    complete=_complete,
    make_key=_make_key,
    belongs=(Belongs("conversations", "conversation_id", order="created_at"),),
    fixed=frozenset({"conversation_id", "role"}),
    effects=_raise,
)

RESOURCES = [_conversations, _messages]
