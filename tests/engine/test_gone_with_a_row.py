"""Writes in one transaction with the removal of what their rows belong to: judged after it, as if sent alone."""

import psycopg
import pytest

from syncserver.core.errors import NotWhole
from syncserver.engine.whole import Whole
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog
from tests.engine.conftest import NOW
from tests.engine.test_workspace import ADA, keys, place, put, removal, results

__all__ = ["place"]


@pytest.fixture
async def whole(server: Database, catalog: Catalog, place: str) -> Whole:
    """It has two nodes, three components in the first, and a relationship."""
    whole = Whole(server, catalog, lambda: NOW)
    await whole.write(
        ADA,
        [
            put("nodes", f"{place}:N001"),
            put("nodes", f"{place}:N002"),
            *(put("node_components", f"{place}:c{n}", node_id="N001", type="text") for n in (1, 2, 3)),
            put("session_relationships", f"{place}:r1", from_node="N002", to_node="N001", type="knows"),
        ],
    )
    return whole


async def test_what_went_with_a_node_may_be_made_anew_elsewhere_or_removed_again(
    whole: Whole, sql: psycopg.Connection, place: str
):
    later = [
        removal("nodes", f"{place}:N001"),
        put("node_components", f"{place}:c2", node_id="N002", type="text"),
        removal("session_relationships", f"{place}:r1"),
        removal("node_components", f"{place}:c3"),
    ]
    acks = await whole.write(ADA, [{**raw, "policy": "client-wins"} for raw in later])
    assert results(acks) == ["applied"] * 4
    assert keys(sql, "node_components") == [f"{place}:c2"]
    found = sql.execute("SELECT split_part(key, ':', 2) FROM changes WHERE op = 'remove' ORDER BY 1").fetchall()
    assert [own for (own,) in found] == ["N001", "c1", "c3", "r1"]


async def test_what_went_with_a_node_cannot_be_patched(whole: Whole, place: str):
    patch = {"op": "patch", "data": {"type": "image"}}
    later = [
        removal("nodes", f"{place}:N001"),
        {**removal("node_components", f"{place}:c1"), **patch},
        {**removal("session_relationships", f"{place}:r1"), **patch},
    ]
    with pytest.raises(NotWhole) as raised:
        await whole.write(ADA, later)
    assert [(refusal["place"], refusal["code"]) for refusal in raised.value.refusals] == [
        (1, "removed"),
        (2, "removed"),
    ]
