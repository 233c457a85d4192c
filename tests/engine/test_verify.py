"""A client's rows are compared with the log: at the head and by digest, or not at all."""

import logging

import psycopg
import pytest

from syncserver.core import digest
from syncserver.core.cursor import Cursor
from syncserver.core.errors import Invalid, Refetch, Unavailable
from syncserver.core.values import Digest
from syncserver.engine.pull import Pull
from syncserver.engine.verify import Verifications, Verify
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog

ADA, BEN = "user:ada", "user:ben"


@pytest.fixture
def verify(server: Database, catalog: Catalog) -> Verify:
    return Verify(server, catalog)


@pytest.fixture
def written(sql: psycopg.Connection) -> psycopg.Connection:
    """Ada has two books, a third was removed; ben has one."""
    for owner, key in ((ADA, "a"), (ADA, "b"), (ADA, "c"), (BEN, "d")):
        sql.execute("INSERT INTO reading_progress (owner, publication_id) VALUES (%s, %s)", [owner, key])
    sql.execute("DELETE FROM reading_progress WHERE publication_id = 'b'")
    return sql


async def held(pull: Pull) -> dict[str, Digest]:
    """What a client of ada's holds that has caught up."""
    page = await pull.page(ADA, None, None)
    return {
        "progress": digest.of(digest.row(c.resource, c.key, c.offset, c.updated_at) for c in page.changes if c.data)
    }


async def refused(verify: Verify, cursor: str, digests: dict[str, Digest]) -> str:
    with pytest.raises(Refetch) as error:
        await verify.compare(ADA, cursor, digests)
    return error.value.reason


@pytest.mark.usefixtures("written")
async def test_who_holds_what_the_log_says_is_the_same(verify: Verify, pull: Pull):
    assert await verify.compare(ADA, await pull.cursor(ADA), await held(pull)) == "same"
    assert await verify.compare(ADA, await pull.cursor(ADA), {}) == "same"
    assert verify.counts == Verifications(verified=2)


async def test_who_is_not_at_the_head_any_more_is_told_that_it_moved(verify: Verify, pull: Pull, written):
    cursor, digests = await pull.cursor(ADA), await held(pull)
    written.execute("INSERT INTO reading_progress (owner, publication_id) VALUES (%s, 'e')", [ADA])
    assert await verify.compare(ADA, cursor, digests) == "moved"
    assert await verify.compare(ADA, cursor, {"progress": Digest(rows=0, xor="0" * 16)}) == "moved"
    assert verify.counts == Verifications(moved=2)


async def test_another_owner_s_writes_move_nothing(verify: Verify, pull: Pull, written):
    cursor, digests = await pull.cursor(ADA), await held(pull)
    written.execute("INSERT INTO reading_progress (owner, publication_id) VALUES (%s, 'e')", [BEN])
    assert await verify.compare(ADA, cursor, digests) == "same"


@pytest.mark.usefixtures("written")
async def test_a_difference_is_refused_counted_and_logged_without_saying_whose(verify, pull, caplog):
    cursor, right = await pull.cursor(ADA), (await held(pull))["progress"]
    for wrong in (Digest(rows=1, xor=right.xor), Digest(rows=right.rows, xor="0" * 16)):
        with caplog.at_level(logging.WARNING):
            assert await refused(verify, cursor, {"progress": wrong}) == "digest"
    assert verify.counts == Verifications(mismatched=2)
    assert [record.getMessage() for record in caplog.records] == [
        "a client's rows differ from the log: progress (1 rows, 2 in the log)",
        "a client's rows differ from the log: progress (2 rows, 2 in the log)",
    ]


async def test_a_cursor_is_checked_as_everywhere(verify: Verify, pull: Pull, written):
    epoch, _ = await pull.heads([])
    digests = await held(pull)
    written.execute("UPDATE channels SET floor = 3 WHERE owner = %s", [ADA])
    for cursor, reason in {
        "nonsense": "unreadable",
        str(Cursor.at(epoch, BEN, 4)): "owner",
        str(Cursor.at("another", ADA, 4)): "epoch",
        str(Cursor.at(epoch, ADA, 5)): "ahead",
        str(Cursor.at(epoch, ADA, 2)): "floor",
    }.items():
        assert await refused(verify, cursor, digests) == reason
    assert verify.counts == Verifications()


@pytest.mark.usefixtures("written")
async def test_a_resource_that_is_not_synced_here_is_invalid_and_named_by_its_place(verify: Verify, pull: Pull):
    wrong = {"goose/berries": Digest(rows=0, xor="0" * 16)}
    with pytest.raises(Invalid, match="progress") as error:
        await verify.compare(ADA, await pull.cursor(ADA), wrong | await held(pull), root="/body")
    assert [place["pointer"] for place in error.value.errors] == ["/body/digests/goose~1berries"]
    assert "goose" not in error.value.detail
    assert verify.counts == Verifications()


async def test_without_a_database_it_is_unavailable(pull: Pull, catalog: Catalog):
    away = Database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable):
        await Verify(away, catalog).compare(ADA, await pull.cursor(ADA), {})
    await away.close()
