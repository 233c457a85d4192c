"""The workspace of one session as a whole: what an import has to know of it, and its rows in order for an export."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

_AT_ONCE = 50
"""Rows that are in memory at once: each may be of some hundred kilobytes."""

_COMPONENTS = sa.text("""
    SELECT t.node, t.id, e."offset" FROM node_components t
    CROSS JOIN LATERAL (
      SELECT c."offset" FROM changes c
      WHERE c.owner = t.owner AND c.resource = 'node_components' AND c.key = t.id COLLATE "default" OFFSET 0
    ) e
    WHERE t.owner = :owner AND t.node = ANY (CAST(:nodes AS text[])) ORDER BY t.node, t.id
""")
_NODES = sa.text("""
    SELECT t.node_id, t.title, t.content, CAST(t.metadata AS text), (
      SELECT '[' || string_agg(CAST(json_build_object(
        'component_id', c.component_id, 'type', c.type, 'config', c.config) AS text), ', ' ORDER BY c.rank, c.id) || ']'
      FROM node_components c WHERE c.owner = t.owner AND c.node = t.id)
    FROM nodes t WHERE t.owner = :owner AND t.session_id = CAST(:session AS uuid) ORDER BY t.number, t.id
""").execution_options(yield_per=_AT_ONCE)
_RELATIONSHIPS = sa.text("""
    SELECT t.relationship_id, t.from_node, t.to_node, t.type, t.weight, CAST(t.metadata AS text)
    FROM session_relationships t WHERE t.owner = :owner AND t.session_id = CAST(:session AS uuid) ORDER BY t.id
""").execution_options(yield_per=_AT_ONCE)

# One statement, so that every end that an edge names is there: both parts are of one snapshot.
_GRAPH = sa.text("""
    SELECT true AS node, t.number, t.id, CAST(json_build_object(
      'id', t.node_id, 'title', t.title, 'content', t.content, 'metadata', t.metadata, 'components', coalesce((
        SELECT json_agg(json_build_object('component_id', c.component_id, 'type', c.type, 'config', c.config)
          ORDER BY c.rank, c.id)
        FROM node_components c WHERE c.owner = t.owner AND c.node = t.id), '[]')) AS text)
    FROM nodes t WHERE t.owner = :owner AND t.session_id = CAST(:session AS uuid)
    UNION ALL
    SELECT false, 0, t.id, CAST(json_build_object(
      'source', t.from_node, 'target', t.to_node, 'key', t.relationship_id,
      'type', t.type, 'weight', t.weight, 'metadata', t.metadata) AS text)
    FROM session_relationships t WHERE t.owner = :owner AND t.session_id = CAST(:session AS uuid)
    ORDER BY 1 DESC, 2, 3
""").execution_options(yield_per=_AT_ONCE)

Rows = AsyncIterator[Sequence[Any]]


async def components(connection: AsyncConnection, owner: str, nodes: Sequence[str]) -> list[tuple[str, str, int]]:
    """The components of these nodes: the node's key, the component's, and where that stands in the log."""
    found = await connection.execute(_COMPONENTS, {"owner": owner, "nodes": list(nodes)})
    return [(node, key, offset) for node, key, offset in found]


async def nodes(connection: AsyncConnection, owner: str, session_id: str) -> Rows:
    """Each node in order of its number: id, title, content, metadata and components as JSON (None: it has none)."""
    async with connection.stream(_NODES, {"owner": owner, "session": session_id}) as found:
        async for row in found:
            yield row


async def relationships(connection: AsyncConnection, owner: str, session_id: str) -> Rows:
    """Each relationship in order of its id: id, from, to, type, weight, and metadata as JSON."""
    async with connection.stream(_RELATIONSHIPS, {"owner": owner, "session": session_id}) as found:
        async for row in found:
            yield row


async def graph(connection: AsyncConnection, owner: str, session_id: str) -> Rows:
    """Each node, then each relationship, in the order of those: whether it is a node, and as JSON what it is."""
    async with connection.stream(_GRAPH, {"owner": owner, "session": session_id}) as found:
        async for node, _, _, text in found:
            yield node, text
