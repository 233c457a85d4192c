"""Tickets: once, for 30 s, in any process, and never longer than the token."""

import asyncio
from datetime import timedelta
from hashlib import sha256

import httpx
import psycopg
import pytest

from syncserver.app import wiring
from syncserver.core import bodies
from syncserver.core.actor import Actor
from syncserver.core.errors import Unauthorised
from syncserver.engine.tickets import Tickets
from syncserver.storage.database import Database
from tests.api.problems import problem
from tests.harness import Live, Urls

NOW = wiring.now().replace(microsecond=0)
ADA = Actor("user:ada", NOW + timedelta(hours=1), "t1", NOW)


async def test_a_ticket_is_made_for_whoever_shows_a_token(http: httpx.AsyncClient, live: Live):
    answer = await http.post("/tickets")
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    issued = bodies.TicketAnswer.model_validate_json(answer.content)
    assert issued.expires_in_s == 30
    assert (await live.parts.house.tickets.redeem(issued.ticket)).owner == "user:ada"
    problem(await http.post("/tickets", headers={"Authorization": ""}), 401, "unauthorised")


async def test_a_ticket_stands_for_the_token_that_got_it_and_its_end(server: Database):
    tickets = Tickets(server)
    assert await tickets.redeem(await tickets.issue(ADA)) == ADA
    assert await tickets.redeem(await tickets.issue(Actor("user:eve"))) == Actor("user:eve", None)


async def test_of_twenty_who_redeem_it_at_once_in_two_processes_one_wins(server: Database, database: Urls):
    elsewhere = Database(database.server)
    ticket = await Tickets(server).issue(ADA)
    found = await asyncio.gather(
        *(Tickets(pool).redeem(ticket) for pool in (server, elsewhere) * 10), return_exceptions=True
    )
    await elsewhere.close()
    assert [actor for actor in found if not isinstance(actor, Unauthorised)] == [ADA]


async def test_one_that_is_too_old_is_none(server: Database):
    tickets = Tickets(server, valid_s=0)
    with pytest.raises(Unauthorised):
        await tickets.redeem(await tickets.issue(ADA))


@pytest.mark.parametrize("ticket", ["", "x", "\0", "\ud800", "x" * 10_000])
async def test_what_was_never_given_is_turned_away(server: Database, ticket: str):
    with pytest.raises(Unauthorised) as refused:
        await Tickets(server).redeem(ticket)
    assert len(ticket) < 2 or ticket not in refused.value.detail


async def test_the_database_holds_only_the_hash(server: Database, sql: psycopg.Connection):
    ticket = await Tickets(server).issue(ADA)
    [row] = sql.execute("SELECT hash, tickets::text FROM tickets").fetchall()
    assert bytes(row[0]) == sha256(ticket.encode()).digest()
    assert ticket not in row[1]


async def test_another_reader_s_tickets_cannot_be_seen(server: Database):
    await Tickets(server).issue(ADA)
    async with server.transaction(["user:eve"]) as connection:
        assert (await connection.exec_driver_sql("SELECT count(*) FROM tickets")).scalar_one() == 0
