"""A row's own key finds its entry in the log by the log's index, whatever the collation of the key's column."""

import psycopg
import pytest
import sqlalchemy as sa

from syncserver import resources
from syncserver.storage import changes, rows
from syncserver.storage.database import Database

PROGRESS = resources.catalog()["progress"]


@pytest.mark.parametrize("name", resources.catalog())
async def test_the_log_is_looked_up_by_its_index(server: Database, sql: psycopg.Connection, name: str):
    resource = resources.catalog()[name]
    sql.execute(
        "SELECT sync_record_v3('user:ada', 'any', n::text, 'put', now(), NULL) FROM generate_series(1, 3000) AS n"
    )
    sql.execute("ANALYZE changes")
    looked = sa.text(f"""
        EXPLAIN SELECT e."offset" FROM {resource.table.name} t CROSS JOIN LATERAL (
          SELECT c."offset" FROM changes c
          WHERE c.owner = t.owner AND c.resource = :name AND c.key = {changes.as_key(f"t.{resource.key}")} OFFSET 0
        ) e WHERE t.owner = 'user:ada' LIMIT 1
    """)
    async with server.transaction(["user:ada"]) as connection:
        plan = list((await connection.execute(looked, {"name": name})).scalars())
    assert [line for line in plan if "Index Cond" in line and "owner =" in line and "key =" in line], plan


async def test_it_is_so_for_an_owner_whom_the_planner_has_never_heard_of(server: Database, sql: psycopg.Connection):
    """It takes the smaller index where it believes that an owner has a row or two, and then each key costs them all."""
    sql.execute("""
        INSERT INTO reading_progress (owner, publication_id)
        SELECT 'user:' || n, 'book' FROM generate_series(1, 4000) AS n
    """)
    sql.execute("ANALYZE changes, reading_progress")
    for name, query in (("changes_pkey", changes._ENTRIES), ("reading_progress_pkey", rows._locked(PROGRESS))):
        async with server.transaction(["user:new"]) as connection:
            asked = {"owners": ["user:new"], "resources": ["progress"], "keys": ["book 1"]}
            plan = list((await connection.execute(sa.text(f"EXPLAIN {query.text}"), asked)).scalars())
        assert [line for line in plan if name in line], plan
