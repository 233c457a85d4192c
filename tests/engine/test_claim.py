"""A visitor becomes a reader: every row changes hands once, nothing of the visitor stays, nothing is done twice."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
import sqlalchemy as sa

from syncserver.core import values
from syncserver.core.actor import Device, session_owner
from syncserver.core.errors import NotFound
from syncserver.engine.claim import Claim, Taken
from syncserver.engine.decide import Sender
from syncserver.engine.pull import Pull
from syncserver.engine.push import Push
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog, Resource

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ADA, BEN = "user:ada", "user:ben"
SESSION = UUID("0b2f4a3e-9d1c-4f6a-8e57-2c1d3b4a5f60")
VISITOR = session_owner(SESSION)
Raw = dict[str, Any]


@pytest.fixture
def session(sql: psycopg.Connection) -> UUID:
    sql.execute("INSERT INTO sessions (owner, id) VALUES (%s, %s)", [VISITOR, SESSION])
    return SESSION


@pytest.fixture
def claim(server: Database, catalog: Catalog) -> Claim:
    return Claim(server, catalog)


def by(owner: str, device: str = "phone") -> Sender:
    return Sender(owner, Device(device, f"the {device}"), f"client of {device}")


def put(key: str, percentage: float, at: float = -60, **more: Any) -> Raw:
    return {
        "mutation_id": str(uuid4()),
        "resource": "progress",
        "key": key,
        "op": "put",
        "data": {"percentage": percentage},
        "updated_at": (NOW + timedelta(minutes=at)).isoformat(),
        **more,
    }


async def pushed(door: Push, sender: Sender, *mutations: Raw) -> list[Raw]:
    return orjson.loads(orjson.dumps(await door.push(sender, mutations)))  # type: ignore[no-any-return]


def progress(sql: psycopg.Connection, owner: str = ADA) -> list[tuple[Any, ...]]:
    return sql.execute(
        "SELECT publication_id, percentage, furthest, device_id, device_name FROM reading_progress"
        " WHERE owner = %s ORDER BY 1",
        [owner],
    ).fetchall()


def owned(sql: psycopg.Connection, owner: str) -> dict[str, int]:
    """Where in the database there are rows of this owner: every table that has owners is looked at."""
    tables = sql.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'owner'"
        " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
    ).fetchall()
    assert len(tables) > 8
    counts = {
        name: sql.execute(f"SELECT count(*) FROM {name} WHERE owner = %s".encode(), [owner]).fetchall()[0][0]
        for (name,) in tables
    }
    return {name: count for name, count in counts.items() if count}


async def test_what_only_the_visitor_has_is_the_readers_as_it_was(push, pull: Pull, claim, session, sql):
    await pushed(push, by(VISITOR), put("a", 0.1), put("b", 0.2))
    await pushed(push, by(ADA, "tablet"), put("c", 0.3))

    assert await claim.claim(ADA, session) == Taken(rows=3, conflicts=0)

    assert progress(sql) == [
        ("a", 0.1, 0.1, "phone", "the phone"),
        ("b", 0.2, 0.2, "phone", "the phone"),
        ("c", 0.3, 0.3, "tablet", "the tablet"),
    ]
    page = await pull.page(ADA, None, None, 100)
    assert [(c.resource, c.key, c.offset) for c in page.changes] == [
        ("progress", "c", 1),
        ("progress", "a", 2),
        ("progress", "b", 3),
        ("sessions", str(SESSION), 4),
    ]
    assert owned(sql, VISITOR) == {}


@pytest.mark.parametrize(
    ("theirs", "ours", "winner", "device"),
    [(-10, -20, 0.2, "phone"), (-20, -10, 0.7, "tablet")],
    ids=["newer", "older"],
)
async def test_a_row_of_both_is_decided_by_the_resolver_and_the_loser_kept(
    push, claim, session, sql, theirs, ours, winner, device
):
    await pushed(push, by(VISITOR), put("moby", 0.2, theirs))
    await pushed(push, by(ADA, "tablet"), put("moby", 0.7, ours))

    assert await claim.claim(ADA, session) == Taken(rows=2, conflicts=1)

    assert progress(sql) == [("moby", winner, 0.7, device, f"the {device}")]
    [(won, lost)] = sql.execute("SELECT winner, loser FROM conflicts WHERE owner = %s", [ADA]).fetchall()
    assert (won["fields"]["percentage"], {won["device_id"], lost["device_id"]}) == (winner, {"phone", "tablet"})
    assert lost["fields"]["percentage"] == ({0.2, 0.7} - {winner}).pop()
    assert owned(sql, VISITOR) == {}


async def test_two_rows_of_one_device_are_a_conflict_too_for_neither_house_knew_of_the_other(push, claim, session, sql):
    await pushed(push, by(VISITOR), put("moby", 0.2, -10))
    await pushed(push, by(ADA), put("moby", 0.7, -20))
    assert (await claim.claim(ADA, session)).conflicts == 1
    assert [row[1] for row in progress(sql)] == [0.2]


@pytest.mark.parametrize(("removed", "left"), [(-5, []), (-15, ["moby"])], ids=["after", "before"])
async def test_a_removal_by_the_reader_is_one_side_of_the_clash(push, claim, session, sql, removed, left):
    await pushed(push, by(VISITOR), put("moby", 0.2, -10))
    await pushed(push, by(ADA, "tablet"), put("moby", 0.7, -20))
    remove = {**put("moby", 0, removed), "op": "remove", "data": None}
    await pushed(push, by(ADA, "tablet"), remove)
    assert (await claim.claim(ADA, session)).conflicts == 1
    assert [row[0] for row in progress(sql)] == left


async def test_a_removal_by_the_visitor_takes_nothing_from_the_reader(push, claim, session, sql):
    await pushed(push, by(ADA, "tablet"), put("moby", 0.7, -20))
    await pushed(push, by(VISITOR), put("moby", 0.2, -10))
    await pushed(push, by(VISITOR), {**put("moby", 0, -5), "op": "remove", "data": None})
    await claim.claim(ADA, session)
    assert [row[:2] for row in progress(sql)] == [("moby", 0.7)]


async def test_what_the_visitor_sent_before_is_a_duplicate_under_the_readers_key(push, pull: Pull, claim, session, sql):
    sent = [put("a", 0.1), put("b", 0.2), put("none", 2)]
    first = await pushed(push, by(VISITOR), *sent)
    for n in range(5):  # somebody at psql: no mutation wrote at these places of the reader's log
        sql.execute(
            "INSERT INTO reading_progress (owner, publication_id, updated_at) VALUES (%s, %s, now())", [ADA, f"{n}"]
        )
    await claim.claim(ADA, session)
    before = await pull.page(ADA, None, None, 100)

    again = await pushed(push, by(ADA), *sent)

    assert [ack["status"] for ack in first] == ["applied", "applied", "rejected"]
    assert [ack["status"] for ack in again] == ["duplicate"] * 3
    assert all(ack.get("offset", 0) <= before.until for ack in again)
    after = await pull.page(ADA, None, None, 100)
    assert [c.offset for c in after.changes] == [c.offset for c in before.changes]
    assert {c.mutation_id for c in after.changes} == {None}, "an answer of another log marks a change of this one"


async def test_what_waited_offline_lands_once(push, claim, session, sql):
    """The first half was taken before the claim, its answer lost; the other half never left the device."""
    queued = [put("a", 0.1, -30), put("a", 0.2, -20), put("b", 0.3, -10)]
    await pushed(push, by(VISITOR), *queued[:2])
    await claim.claim(ADA, session)
    acks = await pushed(push, by(ADA), *queued)
    assert [ack["status"] for ack in acks] == ["duplicate", "duplicate", "applied"]
    assert [row[:2] for row in progress(sql)] == [("a", 0.2), ("b", 0.3)]


async def test_conflicts_that_the_visitor_had_are_the_readers(push, claim, session, sql):
    await pushed(push, by(VISITOR, "phone"), put("moby", 0.2, -20))
    [ack] = await pushed(push, by(VISITOR, "tablet"), put("moby", 0.7, -10))
    await claim.claim(ADA, session)
    kept = sql.execute("SELECT owner, id::text FROM conflicts").fetchall()
    assert kept == [(ADA, ack["conflict_id"])]


async def test_a_second_claim_finds_nothing_to_do_and_another_reader_no_session(push, claim, session, sql):
    await pushed(push, by(VISITOR), put("a", 0.1))
    await claim.claim(ADA, session)
    assert await claim.claim(ADA, session) == Taken()
    for owner, asked in ((BEN, session), (ADA, uuid4())):
        with pytest.raises(NotFound):
            await claim.claim(owner, asked)
    assert [row[:2] for row in progress(sql)] == [("a", 0.1)]


async def test_after_the_claim_nothing_can_be_written_in_the_visitors_name(push, claim, session, sql):
    await claim.claim(ADA, session)
    [ack] = await pushed(push, by(VISITOR), put("a", 0.1))
    assert (ack["status"], ack["code"]) == ("deferred", "unauthorised")
    [other] = await pushed(push, by(ADA), put("b", 0.1))
    assert other["status"] == "applied"
    with pytest.raises(psycopg.Error, match="ended"):
        sql.execute(
            "INSERT INTO reading_progress (owner, publication_id, updated_at) VALUES (%s, 'x', now())", [VISITOR]
        )
    assert owned(sql, VISITOR) == {}


@pytest.mark.parametrize("round_", range(5))
async def test_a_write_that_comes_with_the_claim_is_claimed_or_left_with_its_device(push, claim, session, sql, round_):
    writes = [put(f"{n}", 0.5) for n in range(40)]
    sent = [asyncio.create_task(pushed(push, by(VISITOR), write)) for write in writes[: 8 * round_]]
    if sent:
        await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
    sent += [asyncio.create_task(pushed(push, by(VISITOR), write)) for write in writes[8 * round_ :]]
    await claim.claim(ADA, session)
    acks = [ack for acks in await asyncio.gather(*sent) for ack in acks]

    statuses = {ack["mutation_id"]: ack["status"] for ack in acks}
    assert set(statuses.values()) <= {"applied", "deferred"}
    landed = {row[0] for row in progress(sql)}
    assert landed == {write["key"] for write in writes if statuses[write["mutation_id"]] == "applied"}
    assert owned(sql, VISITOR) == {}
    again = await pushed(push, by(ADA), *writes)
    assert {ack["status"] for ack in again} <= {"applied", "duplicate"}
    assert len(progress(sql)) == len(writes)


# -- a resource that nobody had thought of -----------------------------------


def _shelves() -> list[Resource]:
    def table(name: str, *columns: sa.Column[Any]) -> sa.Table:
        return sa.Table(
            name,
            sa.MetaData(),
            sa.Column("owner", sa.Text, primary_key=True),
            sa.Column("id", sa.Text, primary_key=True),
            *columns,
            sa.Column("device_id", sa.Text),
            sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        )

    books = table("books", sa.Column("shelf", sa.Text))
    return [
        Resource("books", books, "id", type("Book", (values.Model,), {"__annotations__": {"shelf": str}})),
        Resource("shelves", table("shelves"), "id", type("Shelf", (values.Model,), {})),
    ]


async def test_a_resource_added_later_is_claimed_without_a_line_of_change(server: Database, catalog, session, sql):
    """Two tables, of which one names the other: whichever goes first, both arrive."""
    sql.execute("""
        CREATE TABLE shelves (owner text, id text, device_id text, updated_at timestamptz NOT NULL,
          PRIMARY KEY (owner, id));
        CREATE TABLE books (owner text, id text, shelf text, device_id text, updated_at timestamptz NOT NULL,
          PRIMARY KEY (owner, id), FOREIGN KEY (owner, shelf) REFERENCES shelves (owner, id) DEFERRABLE);
        SELECT sync_track_v4('shelves', 'shelves', 'id'), sync_isolate_v1('shelves');
        SELECT sync_track_v4('books', 'books', 'id'), sync_isolate_v1('books');
        GRANT SELECT, INSERT, UPDATE, DELETE ON books, shelves TO syncserver_app
    """)
    for owner, shelf, book in ((VISITOR, "one", "x"), (VISITOR, "both", "y"), (ADA, "both", "z")):
        sql.execute("INSERT INTO shelves VALUES (%s, %s, 'phone', now())", [owner, shelf])
        sql.execute("INSERT INTO books VALUES (%s, %s, %s, 'phone', now())", [owner, book, shelf])
    claim = Claim(server, Catalog([*_shelves(), *catalog.values()]))
    await claim.claim(ADA, session)
    assert sql.execute("SELECT owner, id, shelf FROM books ORDER BY id").fetchall() == [
        (ADA, "x", "one"),
        (ADA, "y", "both"),
        (ADA, "z", "both"),
    ]
    assert sql.execute("SELECT owner, id FROM shelves ORDER BY id").fetchall() == [(ADA, "both"), (ADA, "one")]
    assert owned(sql, VISITOR) == {}
