"""Notes are read by the number that their doorbell says, in order, and only by whoever names their owner."""

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from syncserver.storage import notes
from syncserver.storage.database import Database
from syncserver.storage.notes import Note
from tests.harness import Urls

ADA, BEN = "user:ada", "user:ben"
PHONE = "0198c0de-0000-4000-8000-000000000001"


def broadcast(body: str = "{}", owner: str = ADA, connection: str | None = PHONE) -> Note:
    return Note(owner, "broadcast", body, connection)


async def post(server: Database, *posted: Note) -> None:
    async with server.transaction({note.owner for note in posted}) as connection:
        await notes.post(connection, posted)


async def read(server: Database, *rung: notes.Ring) -> list[Note]:
    async with server.transaction({owner for owner, _ in rung}) as connection:
        return await notes.read(connection, rung)


class Ears:
    """Somebody at psql who listens."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute(f"LISTEN {notes.CHANNEL}".encode())

    def heard(self, count: int) -> list[notes.Ring]:
        rung = []
        for notify in self.connection.notifies(timeout=20, stop_after=count):
            number, _, owner = notify.payload.partition(" ")
            rung.append((owner, int(number)))
        return rung


@pytest.fixture
def ears(database: Urls):
    found = Ears(database.owner)
    yield found
    found.connection.close()


async def test_a_note_is_read_as_it_was_posted_by_what_its_doorbell_says(server: Database, ears: Ears):
    posted = [
        broadcast('{"type":"broadcast","data":"\\u0000 \\"quoted\\" naïve"}'),
        Note(ADA, "conflict", '{"type":"conflict"}', None, "phone's \\ id"),
    ]
    await post(server, *posted)
    assert await read(server, *ears.heard(2)) == posted


async def test_notes_of_one_transaction_are_heard_in_the_order_in_which_they_were_given(server: Database, ears: Ears):
    posted = [broadcast(str(number), (ADA, BEN)[number % 2]) for number in range(300)]
    await post(server, *posted)
    assert await read(server, *ears.heard(300)) == posted


async def test_notes_are_answered_in_the_order_in_which_they_are_asked_for(server: Database, ears: Ears):
    await post(server, broadcast("1"), broadcast("2"), broadcast("3"))
    first, second, third = ears.heard(3)
    assert [note.body for note in await read(server, third, first, second)] == ["3", "1", "2"]


async def test_a_doorbell_rings_when_the_notes_are_committed_and_not_for_those_that_never_were(
    server: Database, ears: Ears, sql: psycopg.Connection
):
    with pytest.raises(KeyError):  # noqa: PT012 - the transaction is what raises
        async with server.transaction([ADA]) as connection:
            await notes.post(connection, [broadcast("never")])
            raise KeyError
    await post(server, broadcast("then"))
    [(owner, number)] = ears.heard(1)
    assert sql.execute("SELECT owner, id, body FROM notes").fetchall() == [(owner, number, "then")]


async def test_what_a_doorbell_says_is_a_number_and_an_owner(server: Database, ears: Ears, sql: psycopg.Connection):
    await post(server, Note("user:ada lovelace", "conflict", '{"secret": 1}', PHONE, "secret"))
    [(owner, number)] = ears.heard(1)
    assert sql.execute("SELECT owner, id FROM notes").fetchall() == [(owner, number)]


async def test_a_note_that_is_gone_or_of_another_owner_is_left_out(server: Database, ears: Ears):
    await post(server, broadcast("ada's"))
    await post(server, broadcast("ben's", BEN))
    (_, first), (_, second) = ears.heard(2)
    assert await read(server, (ADA, second), (BEN, first), (ADA, second + 9)) == []
    async with server.transaction([ADA]) as connection:
        assert [note.body for note in await notes.read(connection, [(ADA, first), (BEN, second)])] == ["ada's"]


async def test_no_note_can_be_left_for_an_owner_that_the_transaction_does_not_name(server: Database, sql):
    with pytest.raises(DBAPIError, match="row-level security"):
        async with server.transaction([ADA]) as connection:
            await notes.post(connection, [broadcast(), broadcast(owner=BEN)])
    assert sql.execute("SELECT count(*) FROM notes").fetchone() == (0,)


async def test_a_thousand_notes_of_one_owner_are_each_found_by_the_primary_key(server: Database, ears: Ears):
    await post(server, *(broadcast() for _ in range(1000)))
    rung = ears.heard(1000)
    async with server.transaction([ADA]) as connection:
        plan = await connection.execute(
            sa.text(f"EXPLAIN {notes._READ}"), {"owners": [ADA], "ids": [number for _, number in rung[:1]]}
        )
        assert "Index Scan using notes_pkey" in "\n".join(plan.scalars())
