"""The read door: pages, bounds, filters and states of one snapshot, and the law that nothing is ever missing."""

import random
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson
import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.change import Page
from syncserver.storage import changes, mutations, trip
from syncserver.storage.changes import Entry
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog
from syncserver.storage.trip import Ask
from tests.harness import Urls

ADA, BEN = "user:ada", "user:ben"
STAMP = datetime(2026, 3, 1, 8, 15, 0, 120, UTC)


def put(sql: psycopg.Connection, *keys: str, owner: str = ADA, percentage: float = 0.5) -> None:
    for key in keys:
        sql.execute(
            "INSERT INTO reading_progress (owner, publication_id, percentage) VALUES (%s, %s, %s)"
            " ON CONFLICT (owner, publication_id) DO UPDATE SET percentage = excluded.percentage",
            [owner, key, percentage],
        )


async def read(
    server: Database, catalog: Catalog, after: int = 0, resources: list[str] | None = None, limit: int = 500
) -> Page:
    async with server.transaction([ADA]) as connection:
        return (await trip.one(connection, changes.since(catalog, {ADA: after}, resources, limit)))[ADA]


def keys(page: Page) -> list[str]:
    return [change.key for change in page.changes]


# -- pages -------------------------------------------------------------------


async def test_an_owner_that_never_wrote_has_an_empty_log(server: Database, catalog: Catalog):
    page = await read(server, catalog)
    assert (page.since, page.until, page.floor, page.head, page.changes, page.more) == (0, 0, 0, 0, [], False)
    assert page.epoch


async def test_everything_after_an_offset_comes_in_order_up_to_the_head(server, catalog, sql):
    put(sql, "a", "b", "c")
    put(sql, "a", percentage=0.75)
    whole, rest = await read(server, catalog), await read(server, catalog, 3)
    assert [(c.key, c.offset) for c in whole.changes] == [("b", 2), ("c", 3), ("a", 4)]
    assert (whole.since, whole.until, whole.head, whole.more) == (0, 4, 4, False)
    assert (keys(rest), rest.since, rest.until) == (["a"], 3, 4)


async def test_pages_of_a_limit_join_without_a_gap_or_a_repetition(server, catalog, sql):
    put(sql, "a", "b", "c", "d", "e")
    seen: list[str] = []
    page = await read(server, catalog, limit=2)
    assert (keys(page), page.until, page.head, page.more) == (["a", "b"], 2, 5, True)
    while page.more:
        seen += keys(page)
        page = await read(server, catalog, page.until, limit=2)
    assert ([*seen, *keys(page)], page.until) == (["a", "b", "c", "d", "e"], 5)


async def test_a_page_that_is_exactly_full_is_the_last_one(server, catalog, sql):
    put(sql, "a", "b")
    page = await read(server, catalog, limit=2)
    assert (page.until, page.more) == (2, False)


async def test_a_page_of_large_rows_ends_early_and_one_row_always_fits(server, catalog, sql, monkeypatch):
    monkeypatch.setattr(changes, "PAGE_BYTES", 10_000)
    for number, size in enumerate([100, 3000, 3000, 4000, 60_000, 100]):
        sql.execute(
            "INSERT INTO reading_progress (owner, publication_id, locator) VALUES (%s, %s, %s)",
            [ADA, str(number), orjson.dumps({"href": "x" * size}).decode()],
        )
    sizes, after, more = [], 0, True
    while more:
        page = await read(server, catalog, after)
        sizes.append(keys(page))
        after, more = page.until, page.more
    assert sizes == [["0", "1", "2"], ["3"], ["4"], ["5"]]
    assert after == 6


async def test_a_page_of_one_resource_still_reaches_the_head(server, catalog, sql):
    put(sql, "a")
    page = await read(server, catalog, resources=["another"])
    assert (page.changes, page.until, page.head) == ([], 1, 1)
    assert keys(await read(server, catalog, resources=["another", "progress"])) == ["a"]
    assert keys(await read(server, catalog, resources=[])) == []


async def test_after_the_head_there_is_nothing_and_the_reader_is_not_sent_back(server, catalog, sql):
    put(sql, "a")
    page = await read(server, catalog, 7)
    assert (page.changes, page.until, page.head) == ([], 7, 1)


async def test_the_floor_is_told(server, catalog, sql):
    put(sql, "a", "b")
    sql.execute("UPDATE channels SET floor = 1")
    assert (await read(server, catalog)).floor == 1


async def test_many_owners_are_read_in_one_snapshot_each_from_its_own_offset(server: Database, catalog, sql):
    put(sql, "a", "b")
    put(sql, "c", owner=BEN)
    async with server.transaction([ADA, BEN, "user:new"]) as connection:
        pages = await trip.one(connection, changes.since(catalog, {BEN: 0, ADA: 1, "user:new": 0}))
    assert {owner: keys(page) for owner, page in pages.items()} == {ADA: ["b"], BEN: ["c"], "user:new": []}
    assert {owner: page.owner for owner, page in pages.items()} == {owner: owner for owner in pages}
    assert len({page.epoch for page in pages.values()}) == 1


async def test_an_owner_that_the_transaction_does_not_name_has_an_empty_log(server: Database, catalog, sql):
    put(sql, "a")
    async with server.transaction([BEN]) as connection:
        page = (await trip.one(connection, changes.since(catalog, {ADA: 0})))[ADA]
        assert await changes.heads(connection, [ADA]) == {}
    assert (page.changes, page.head) == ([], 0)


async def test_no_owner_at_all_is_no_page(server: Database, catalog):
    async with server.transaction([]) as connection:
        assert await trip.one(connection, changes.since(catalog, {})) == {}


# -- states ------------------------------------------------------------------


async def test_a_put_shows_the_rows_present_state(server, catalog, sql):
    sql.execute(
        "INSERT INTO reading_progress (owner, publication_id, locator, position, position_kind, percentage, device_id,"
        " device_name, updated_at, created_at)"
        " VALUES (%s, 'moby', '{\"href\": \"/1\"}', 'epubcfi(/6/4!/4/2)', 'cfi', 0.1, 'phone', 'Phone', %s, %s)",
        [ADA, STAMP, STAMP],
    )
    change = (await read(server, catalog)).changes[0]
    assert (change.resource, change.op, change.updated_at, change.device_id) == ("progress", "put", STAMP, "phone")
    assert orjson.loads(change.data or "") == {
        "publication_id": "moby",
        "series_id": None,
        "locator": {"href": "/1"},
        "position": "epubcfi(/6/4!/4/2)",
        "position_kind": "cfi",
        "percentage": 0.1,
        "furthest": 0.1,
        "status": "reading",
        "device_id": "phone",
        "device_name": "Phone",
        "updated_at": "2026-03-01T08:15:00.000120Z",
        "created_at": "2026-03-01T08:15:00.000120Z",
    }


async def test_stamps_are_utc_whatever_the_time_zone_of_the_session(server: Database, catalog, sql):
    sql.execute(
        "INSERT INTO reading_progress (owner, publication_id, updated_at) VALUES (%s, 'moby', %s)", [ADA, STAMP]
    )
    async with server.transaction([ADA]) as connection:
        await connection.execute(sa.text("SET LOCAL timezone = 'Asia/Kathmandu'"))
        change = (await trip.one(connection, changes.since(catalog, {ADA: 0})))[ADA].changes[0]
    assert orjson.loads(change.data or "")["updated_at"] == "2026-03-01T08:15:00.000120Z"
    assert change.updated_at == STAMP


async def test_a_database_with_another_time_zone_and_style_changes_nothing(pooled, catalog, sql):
    sql.execute(
        "INSERT INTO reading_progress (owner, publication_id, updated_at) VALUES (%s, 'moby', %s)", [ADA, STAMP]
    )
    name = sql.info.dbname
    for setting in ("timezone = 'America/Caracas'", "datestyle = 'German'", "intervalstyle = 'sql_standard'"):
        sql.execute(f"ALTER DATABASE {name} SET {setting}".encode())
    change = (await read(pooled(), catalog)).changes[0]
    assert orjson.loads(change.data or "")["updated_at"] == "2026-03-01T08:15:00.000120Z"


async def test_a_tombstone_has_no_state(server, catalog, sql):
    put(sql, "a")
    sql.execute("DELETE FROM reading_progress")
    change = (await read(server, catalog)).changes[0]
    assert (change.key, change.offset, change.op, change.data, change.device_id) == ("a", 2, "remove", None, None)


async def test_a_change_names_the_mutation_that_made_it_until_somebody_else_writes(server: Database, catalog, sql):
    put(sql, "a", "b")
    name = str(uuid4())
    async with server.transaction([ADA]) as connection:
        await mutations.record(connection, [mutations.Answer((ADA, "phone", name), 1, {})])
        await mutations.record(connection, [mutations.Answer((ADA, "phone", str(uuid4())), None, {})])
    assert [c.mutation_id for c in (await read(server, catalog)).changes] == [name, None]
    put(sql, "a", percentage=0.75)
    assert [c.mutation_id for c in (await read(server, catalog)).changes] == [None, None]


# -- heads, entries, removals ------------------------------------------------


async def test_a_change_shows_the_stamp_that_was_claimed_where_it_got_another(server: Database, catalog, sql):
    put(sql, "a", "b")
    async with server.transaction([ADA]) as connection:
        for offset, claimed_at in ((1, STAMP), (2, None)):
            name = (ADA, "c", str(uuid4()))
            await mutations.record(connection, [mutations.Answer(name, offset, {"status": "applied"}, claimed_at)])
    assert [change.claimed_at for change in (await read(server, catalog)).changes] == [STAMP, None]


async def test_heads_are_of_the_owners_asked_that_have_a_log(server: Database, sql):
    put(sql, "a", "b")
    put(sql, "c", owner=BEN)
    async with server.transaction([ADA, BEN, "user:new"]) as connection:
        assert await changes.heads(connection, [ADA, "user:new"]) == {ADA: 2}
        assert await changes.heads(connection, []) == {}


async def test_entries_say_where_rows_stand_removed_ones_too(server: Database, sql):
    put(sql, "a", "b")
    sql.execute("DELETE FROM reading_progress WHERE publication_id = 'b'")
    places = [(ADA, "progress", key) for key in ("a", "b", "never")]
    async with server.transaction([ADA]) as connection:
        found = await changes.entries(connection, [*places, (ADA, "another", "a"), (BEN, "progress", "a")])
    assert {place[2]: (entry.offset, entry.op) for place, entry in found.items()} == {
        "a": (1, "put"),
        "b": (3, "remove"),
    }
    assert all(isinstance(entry, Entry) for entry in found.values())


async def test_a_removal_is_given_its_stamp_and_device_at_an_offset_of_its_own(server: Database, catalog, sql):
    put(sql, "a")
    sql.execute("DELETE FROM reading_progress")
    async with server.transaction([ADA]) as connection:
        await trip.one(connection, changes.tombstone((ADA, "progress", "a"), STAMP, "phone"))
    change = (await read(server, catalog)).changes[0]
    assert (change.offset, change.op, change.updated_at, change.device_id) == (3, "remove", STAMP, "phone")


async def test_the_epoch_of_pages_is_the_logs(server: Database, catalog):
    async with server.transaction([]) as connection:
        epoch = await changes.epoch(connection)
    assert (await read(server, catalog)).epoch == epoch


# -- speed -------------------------------------------------------------------


@pytest.mark.parametrize("analysed", [False, True])
async def test_a_page_is_read_by_the_index_on_owner_and_offset(server: Database, catalog, sql, analysed: bool):
    """Also before the database has gathered statistics, when it guesses."""
    full(sql)
    if analysed:
        sql.execute("ANALYZE changes")
        sql.execute("ANALYZE channels")
    async with server.transaction(FULL) as connection:
        _, shown = await trip.go(connection, prepared(catalog), EXPLAINED)
    assert "on changes_owner_offset_key" in shown or "using changes_owner_offset_key" in shown
    assert "changes_pkey" not in shown
    for table in ("changes", "mutations", "reading_progress"):
        assert f"Seq Scan on {table}" not in shown


@pytest.mark.parametrize("analysed", [False, True])
async def test_a_plan_for_any_page_goes_by_the_same_indexes_whatever_there_was_when_it_was_made(
    server: Database, catalog, sql, analysed: bool
):
    if analysed:
        sql.execute("ANALYZE changes, channels, mutations, reading_progress")  # they are empty: nothing looks cheap
    await server.read(FULL, prepared(catalog))
    shown = await server.read(FULL, EXPLAINED)
    assert "$3" in shown, "it is for these parameters alone"
    for index in ("changes_owner_offset_key", "channels_pkey", "mutations_owner_offset_idx"):
        assert f"Index Scan using {index}" in shown
    assert "Sort" not in shown


@pytest.mark.parametrize(("plans_s", "anew"), [(0, True), (1000, False)])
async def test_a_plan_is_made_anew_after_its_time_and_sees_what_there_is_by_then(
    database: Urls, catalog, sql, plans_s: float, anew: bool
):
    server = Database(database.server, connections=1, plans_s=plans_s)
    try:
        await server.read(FULL, prepared(catalog))
        for filled in (False, True):
            shown = await server.read(FULL, EXPLAINED)
            assert ("using reading_progress_pkey" in shown) is (filled and anew)
            sql.execute("""
                INSERT INTO reading_progress (owner, publication_id)
                SELECT 'user:1', 'book ' || n FROM generate_series(1, 3000) AS n ON CONFLICT DO NOTHING
            """)
    finally:
        await server.close()


FULL = ["user:1", "user:2"]


def full(sql: psycopg.Connection) -> None:
    """20 owners with 1000 entries each."""
    sql.execute("INSERT INTO channels SELECT 'user:' || i, 1000 FROM generate_series(1, 20) i")
    sql.execute("""
        INSERT INTO changes (owner, resource, key, "offset", op, updated_at)
        SELECT 'user:' || o, 'progress', 'book ' || i, i, 'remove', now()
        FROM generate_series(1, 20) o, generate_series(1, 1000) i
    """)


def prepared(catalog: Catalog) -> Ask[None]:
    """Makes the statement known as `page` on this connection."""
    text = changes._since(catalog).text
    for number, name in enumerate(("owners", "offsets", "resources", "count"), 1):
        text = text.replace(f":{name}", f"${number}")
    return Ask(sa.text(f"PREPARE page AS {text}"), {})


EXPLAINED = Ask(
    sa.text("EXPLAIN EXECUTE page ('{user:1,user:2}', '{990,0}', '{progress,sessions}', 500)"),
    {},
    lambda rows: "\n".join(row[0] for row in rows),
)
"""How a page of two owners is read there."""


# -- the law -----------------------------------------------------------------

OWNERS = [ADA, BEN, "user:cyd"]
BOOKS = ["a", "b", "c", "d", "e", "f"]
COMMITS = 120
WRITERS = 4
State = dict[str, dict[str, Any]]
MOVE = """
UPDATE reading_progress SET owner = %s WHERE owner = %s AND publication_id = %s
  AND NOT EXISTS (SELECT FROM reading_progress r WHERE r.owner = %s AND r.publication_id = %s)
"""


def _statement(chance: random.Random) -> tuple[str, list[Any]]:
    owner, other, key, place = *chance.sample(OWNERS, 2), chance.choice(BOOKS), chance.random()
    upsert = (
        "INSERT INTO reading_progress (owner, publication_id, percentage) VALUES (%s, %s, %s)"
        " ON CONFLICT (owner, publication_id) DO UPDATE SET percentage = excluded.percentage"
    )
    statements: list[tuple[str, list[Any]]] = [
        (upsert, [owner, key, place]),
        (upsert, [other, key, place]),
        ("DELETE FROM reading_progress WHERE owner = %s AND publication_id = %s", [owner, key]),
        ("UPDATE reading_progress SET percentage = %s WHERE publication_id = %s", [place, key]),
        ("UPDATE reading_progress SET percentage = %s WHERE owner = %s", [place, owner]),
        (MOVE, [other, owner, key, other, key]),
    ]
    return chance.choice(statements)


def _transact(sql: psycopg.Connection, chance: random.Random) -> None:
    """One transaction, rolled back one time in five; whoever is a victim tries again."""
    statements = [_statement(chance) for _ in range(chance.randint(1, 3))]
    lost = chance.random() < 0.2
    while True:
        try:
            with sql.transaction(force_rollback=lost):
                for statement, arguments in statements:
                    sql.execute(statement.encode(), arguments)
        except (errors.DeadlockDetected, errors.SerializationFailure, errors.UniqueViolation):
            continue
        return


def _write(url: str, seed: int, failures: list[BaseException]) -> None:
    chance = random.Random(seed)
    try:
        with psycopg.connect(url, autocommit=True, options="-c deadlock_timeout=20ms") as sql:
            for _ in range(COMMITS):
                _transact(sql, chance)
    except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
        failures.append(error)


@contextmanager
def _writers(url: str, seed: int) -> Iterator[list[threading.Thread]]:
    """Writers at work; whatever went wrong in one is raised at the end."""
    failures: list[BaseException] = []
    threads = [threading.Thread(target=_write, args=(url, seed + i, failures)) for i in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for thread in threads:
            thread.join()
    assert failures == []


class Client:
    """What a device holds that knows nothing but pages."""

    def __init__(self, limit: int) -> None:
        self.cursors = dict.fromkeys(OWNERS, 0)
        self.rows: State = {owner: {} for owner in OWNERS}
        self._limit = limit

    async def catch_up(self, connection: AsyncConnection, catalog: Catalog) -> None:
        behind = self.cursors
        while behind:
            pages = await trip.one(connection, changes.since(catalog, behind, limit=self._limit))
            for page in pages.values():
                self._apply(page)
            behind = {owner: page.until for owner, page in pages.items() if page.more}

    def _apply(self, page: Page) -> None:
        offsets = [change.offset for change in page.changes]
        assert page.since == self.cursors[page.owner]
        assert offsets == sorted(set(offsets))
        assert all(page.since < offset <= page.until <= page.head for offset in offsets)
        self.cursors[page.owner] = page.until
        for change in page.changes:
            self.rows[page.owner].pop(change.key, None)
            if change.op == "put":
                self.rows[page.owner][change.key] = orjson.loads(change.data or "null")


async def _truth(connection: AsyncConnection) -> tuple[dict[str, int], State]:
    found = await connection.execute(
        sa.text("SELECT owner, publication_id, percentage, furthest, device_id FROM reading_progress")
    )
    state: State = {owner: {} for owner in OWNERS}
    for owner, key, percentage, furthest, device in found:
        state[owner][key] = {"percentage": percentage, "furthest": furthest, "device_id": device}
    return await changes.heads(connection, OWNERS), state


def _compared(state: State) -> State:
    columns = ("percentage", "furthest", "device_id")
    return {owner: {key: {c: row[c] for c in columns} for key, row in rows.items()} for owner, rows in state.items()}


@pytest.fixture
async def frozen(database: Urls, sql) -> AsyncIterator[Database]:
    """The server's pool where a transaction is one snapshot: what two statements of it see belongs together."""
    sql.execute(f"ALTER DATABASE {sql.info.dbname} SET default_transaction_isolation = 'repeatable read'".encode())
    server = Database(database.server)
    yield server
    await server.close()


async def _checked(server: Database, catalog: Catalog, client: Client) -> None:
    async with server.transaction(OWNERS) as connection:
        await client.catch_up(connection, catalog)
        heads, state = await _truth(connection)
    assert {owner: at for owner, at in client.cursors.items() if at} == heads
    assert _compared(client.rows) == state


@pytest.mark.parametrize("limit", [3, 500])
async def test_what_a_reader_holds_is_the_truth_at_every_step_while_others_write(
    frozen: Database, database: Urls, catalog: Catalog, limit: int
):
    client, steps = Client(limit), 0
    with _writers(database.owner, seed=limit) as threads:
        while any(thread.is_alive() for thread in threads):
            await _checked(frozen, catalog, client)
            steps += 1
    await _checked(frozen, catalog, client)
    fresh = Client(limit)
    await _checked(frozen, catalog, fresh)
    assert fresh.rows == client.rows
    assert steps > 10


async def test_offsets_that_were_seen_once_are_never_filled_in_behind_the_reader(
    server: Database, database: Urls, catalog: Catalog
):
    """The same in the server's own isolation level, a page a transaction: the reader ends with the truth."""
    client = Client(limit=5)
    with _writers(database.owner, seed=100) as threads:
        while any(thread.is_alive() for thread in threads):
            async with server.transaction(OWNERS) as connection:
                pages = await trip.one(connection, changes.since(catalog, client.cursors, limit=5))
            for page in pages.values():
                client._apply(page)
    await _checked(server, catalog, client)
