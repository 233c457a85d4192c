"""Reading for somebody: a cursor is honoured or refused with its reason."""

import psycopg
import pytest

from syncserver.core.cursor import Cursor
from syncserver.core.errors import Invalid, Refetch, Unavailable
from syncserver.engine.pull import Pull
from syncserver.storage.database import Database
from syncserver.storage.rows import Listing

ADA, BEN = "user:ada", "user:ben"


@pytest.fixture
def read(sql: psycopg.Connection) -> psycopg.Connection:
    """Ada has three books, the second of them was removed; ben has one."""
    for owner, key in ((ADA, "a"), (ADA, "b"), (ADA, "c"), (BEN, "d")):
        sql.execute("INSERT INTO reading_progress (owner, publication_id) VALUES (%s, %s)", [owner, key])
    sql.execute("DELETE FROM reading_progress WHERE publication_id = 'b'")
    return sql


async def refused(pull: Pull, cursor: Cursor) -> str:
    with pytest.raises(Refetch) as error:
        await pull.page(ADA, cursor, None)
    return error.value.reason


async def cursor_at(pull: Pull, offset: int, owner: str = ADA) -> Cursor:
    epoch, _ = await pull.heads([])
    return Cursor.at(epoch, owner, offset)


@pytest.mark.usefixtures("read")
async def test_without_a_cursor_the_page_begins_at_nothing(pull: Pull):
    page = await pull.page(ADA, None, None)
    assert [(c.key, c.op) for c in page.changes] == [("a", "put"), ("c", "put"), ("b", "remove")]
    assert (page.since, page.until) == (0, 4)


@pytest.mark.usefixtures("read")
async def test_a_cursor_goes_on_where_it_was(pull: Pull):
    page = await pull.page(ADA, await cursor_at(pull, 3), None)
    assert [c.key for c in page.changes] == ["b"]
    page = await pull.page(ADA, await cursor_at(pull, 4), None)
    assert (page.changes, page.until, page.more) == ([], 4, False)


@pytest.mark.usefixtures("read")
async def test_pages_of_a_limit_lead_to_the_owners_cursor(pull: Pull):
    cursor = await cursor_at(pull, 0)
    page = await pull.page(ADA, cursor, None, limit=1)
    while page.more:
        cursor = Cursor.at(page.epoch, ADA, page.until)
        page = await pull.page(ADA, cursor, None, limit=1)
    assert str(Cursor.at(page.epoch, ADA, page.until)) == await pull.cursor(ADA)


@pytest.mark.usefixtures("read")
async def test_the_cursor_of_another_owner_is_refused(pull: Pull):
    assert await refused(pull, await cursor_at(pull, 1, BEN)) == "owner"


@pytest.mark.usefixtures("read")
async def test_a_cursor_past_the_head_is_refused(pull: Pull):
    assert await refused(pull, await cursor_at(pull, 5)) == "ahead"


async def test_a_cursor_below_the_floor_is_refused_but_not_one_from_the_beginning(pull: Pull, read):
    read.execute("UPDATE channels SET floor = 3 WHERE owner = %s", [ADA])
    assert await refused(pull, await cursor_at(pull, 2)) == "floor"
    for offset in (0, 3):
        assert (await pull.page(ADA, await cursor_at(pull, offset), None)).until == 4


async def test_the_cursor_of_another_epoch_is_refused(pull: Pull, read):
    before = await cursor_at(pull, 1)
    read.execute("UPDATE epoch SET system_identifier = 'another'")
    after = await cursor_at(pull, 1)
    assert after.epoch != before.epoch
    assert await refused(pull, before) == "epoch"


def test_resources_are_known_or_invalid(pull: Pull):
    assert pull.known(None) is None
    assert pull.known([]) == frozenset()
    assert pull.known(["progress", "progress"]) == frozenset({"progress"})
    with pytest.raises(Invalid, match="progress") as error:
        pull.known(["progress", "gooseberries"])
    assert "gooseberries" not in error.value.detail


@pytest.mark.usefixtures("read")
async def test_a_page_may_be_of_some_resources(pull: Pull):
    assert (await pull.page(ADA, None, frozenset())).changes == []
    assert len((await pull.page(ADA, None, pull.known(["progress"]))).changes) == 3


@pytest.mark.usefixtures("read")
async def test_pages_of_many_owners_begin_each_at_its_own_offset(pull: Pull):
    pages = await pull.pages({ADA: 3, BEN: 0, "user:new": 0})
    assert {owner: [c.key for c in page.changes] for owner, page in pages.items()} == {
        ADA: ["b"],
        BEN: ["d"],
        "user:new": [],
    }


@pytest.mark.usefixtures("read")
async def test_heads_are_of_one_epoch(pull: Pull):
    epoch, heads = await pull.heads([ADA, BEN, "user:new"])
    assert heads == {ADA: 4, BEN: 1}
    assert epoch == (await pull.page(ADA, None, None)).epoch


async def test_the_cursor_of_an_owner_that_never_wrote_is_the_beginning(pull: Pull):
    cursor = Cursor.parse(await pull.cursor("user:new"))
    assert cursor.offset == 0
    assert (await pull.page("user:new", cursor, None)).changes == []


@pytest.mark.usefixtures("read")
async def test_a_row_is_its_owners_alone(pull: Pull):
    row = await pull.row(ADA, "progress", "a")
    assert row is not None
    assert (row.key, row.offset) == ("a", 1)
    assert await pull.row(ADA, "progress", "b") is None
    assert await pull.row(BEN, "progress", "a") is None


@pytest.mark.usefixtures("read")
async def test_a_list_is_its_owners_alone(pull: Pull):
    assert [row.key for row in await pull.listed(ADA, "progress", Listing({}))] == ["c", "a"]
    assert [row.key for row in await pull.listed(BEN, "progress", Listing({}))] == ["d"]


async def test_a_database_that_is_away_is_unavailable(tmp_path, catalog):
    server = Database(f"postgresql:///any?host={tmp_path}")
    with pytest.raises(Unavailable):
        await Pull(server, catalog).page(ADA, None, None)
    await server.close()
