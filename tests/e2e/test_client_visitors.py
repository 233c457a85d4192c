"""The Python client as a visitor, until its reader signs in: nothing that waits is lost, and nothing is done twice."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import psycopg
import pytest
import syncserver_client
from syncserver_client import Ack, Claimed, Client, Mutation, Rejected, Visitor
from syncserver_client.token import Token

from tests.anonymous import bearer
from tests.faults.proxy import Proxy
from tests.harness import Live, token

_PATIENCE_S = 30


@pytest.fixture
async def proxy(live: Live) -> AsyncIterator[Proxy]:
    async with Proxy(live.port).running() as running:
        yield running


@pytest.fixture
async def visitor(live: Live) -> Visitor:
    return await syncserver_client.create_session(live.url)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def connect(url: str, shown: Token, **more: Any) -> Client:
    quick = {"backoff_first_s": 0.05, "backoff_most_s": 0.2}
    return syncserver_client.connect(url, shown, "phone", **{**quick, **more})


async def claim(live: Live, visitor: Visitor) -> syncserver_client.Claim:
    return await syncserver_client.claim_session(live.url, token("ada"), visitor.session_id, visitor.token)


def put(percentage: float, key: str = "moby-dick", **more: Any) -> Mutation:
    return Mutation("put", "progress", key, {"percentage": percentage}, **more)


async def settled(client: Client, number: int) -> list[Ack]:
    """Wait for so many acks."""
    async with asyncio.timeout(_PATIENCE_S):
        heard = client.acks()
        return [await anext(heard) for _ in range(number)]


async def shown(client: Client, wanted: dict[str, float]) -> None:
    """Wait until the client shows exactly this progress, and nothing of it is pending."""
    async with asyncio.timeout(_PATIENCE_S), client.subscribe(["progress"]) as changes:
        while True:
            rows = [row for (resource, _), row in client.rows.items() if resource == "progress"]
            if {row.key: (row.value or {})["percentage"] for row in rows} == wanted and not any(
                r.pending for r in rows
            ):
                return
            await anext(changes)


async def test_a_session_is_had_for_the_asking_and_synced_as_any_reader(live: Live, visitor: Visitor):
    assert visitor.expires_at.year == visitor.created_at.year + 100
    assert visitor.token not in repr(visitor)
    other = await syncserver_client.create_session(live.url)
    async with (
        connect(live.url, visitor.token) as phone,
        syncserver_client.connect(live.url, visitor.token, "tablet") as tablet,
        connect(live.url, other.token) as stranger,
    ):
        await phone.put("progress", "moby-dick", {"percentage": 0.5})
        await shown(tablet, {"moby-dick": 0.5})
        await stranger.ready()
        assert {key for _, key in stranger.rows} == {other.session_id}


async def test_where_there_is_no_server_there_is_no_session(live: Live):
    async with Proxy(live.port).running() as proxy:
        proxy.down = True
        with pytest.raises(syncserver_client.Offline):
            await syncserver_client.create_session(proxy.url)


async def test_a_claim_gives_its_numbers_and_refusals_their_codes(live: Live, visitor: Visitor):
    async with connect(live.url, visitor.token) as phone:
        await phone.put("progress", "moby-dick", {"percentage": 0.5})
    assert await claim(live, visitor) == syncserver_client.Claim(rows=2, conflicts=0)
    assert await claim(live, visitor) == syncserver_client.Claim(rows=0, conflicts=0)
    with pytest.raises(Rejected) as refused:
        await syncserver_client.claim_session(live.url, token("eve"), visitor.session_id, visitor.token)
    assert refused.value.code == "not_found"
    with pytest.raises(syncserver_client.Fatal):
        await syncserver_client.claim_session(live.url, "nonsense", visitor.session_id, visitor.token)


@pytest.mark.parametrize("transport", ["socket", "stream", "long-poll", "poll"])
async def test_a_client_of_a_claimed_session_says_so_and_stops(live: Live, visitor: Visitor, transport: str):
    async with connect(live.url, visitor.token, transports=[transport], poll_interval_s=0.05) as phone:
        await phone.ready()
        await claim(live, visitor)
        async with asyncio.timeout(_PATIENCE_S):
            async for _ in phone.states():
                pass
        with pytest.raises(Claimed):
            await phone.put("progress", "moby-dick", {"percentage": 0.5})
    async with connect(live.url, visitor.token, transports=[transport]) as phone:
        with pytest.raises(Claimed):
            await phone.ready()


async def test_writes_that_meet_a_claim_are_told_why(live: Live, visitor: Visitor):
    async with connect(live.url, visitor.token) as phone:
        await phone.ready()

        async def write_on() -> None:
            for number in range(10_000):
                await phone.put("progress", f"book {number}", {"percentage": 0.5})

        writing = [asyncio.create_task(write_on()) for _ in range(5)]
        await phone.put("progress", "moby-dick", {"percentage": 0.5})
        await claim(live, visitor)
        async with asyncio.timeout(_PATIENCE_S):
            ended = await asyncio.gather(*writing, return_exceptions=True)
        assert [type(error) for error in ended] == [Claimed] * 5


async def test_a_client_of_a_deleted_session_stops_too_but_was_not_claimed(live: Live, visitor: Visitor):
    async with connect(live.url, visitor.token) as phone:
        await phone.ready()
        async with httpx.AsyncClient(base_url=f"{live.url}/api/v1", headers=bearer(visitor.token)) as http:
            assert (await http.delete(f"/sessions/{visitor.session_id}")).status_code == 204
        async with asyncio.timeout(_PATIENCE_S):
            async for _ in phone.states():
                pass
        with pytest.raises(syncserver_client.Fatal) as stopped:
            phone.enqueue(put(0.5))
        assert stopped.value.code == "unauthorised"


async def test_what_was_written_offline_lands_once_after_signing_in(
    live: Live, proxy: Proxy, visitor: Visitor, store: Path, sql: psycopg.Connection
):
    async with connect(live.url, token("ada")) as tablet:
        await tablet.put("progress", "emma", {"percentage": 0.9})
    async with connect(proxy.url, visitor.token, store=store) as phone:
        await phone.put("progress", "moby-dick", {"percentage": 0.1})
        await shown(phone, {"moby-dick": 0.1})
        proxy.down = True
        answered, waiting = put(0.2), put(0.3)
        for mutation in (answered, waiting, put(0.4, "walden")):
            phone.enqueue(mutation)
        client_id = phone._core.settings.client_id
        sent = orjson.loads(phone._core.outbox._entries[answered.mutation_id].body)
    await _reaches_the_server_but_its_answer_is_lost(live, visitor, client_id, sent)

    await claim(live, visitor)
    proxy.down = False
    async with connect(proxy.url, token("ada"), store=store) as phone:
        assert phone._core.settings.client_id == client_id
        acks = await settled(phone, 3)
        await shown(phone, {"moby-dick": 0.3, "walden": 0.4, "emma": 0.9})
        assert phone.pending == []
    assert [ack.status for ack in acks] == ["duplicate", "applied", "applied"]
    ledger = sql.execute("SELECT owner, mutation_id::text FROM mutations WHERE client_id = %s", [client_id]).fetchall()
    assert {owner for owner, _ in ledger} == {"user:ada"}
    assert len(ledger) == len({mutation_id for _, mutation_id in ledger}) == 4
    assert sql.execute("SELECT DISTINCT owner FROM reading_progress").fetchall() == [("user:ada",)]


async def _reaches_the_server_but_its_answer_is_lost(
    live: Live, visitor: Visitor, client_id: str, sent: dict[str, Any]
) -> None:
    body = {"device": {"id": "phone"}, "client_id": client_id, "mutations": [sent]}
    async with httpx.AsyncClient(base_url=f"{live.url}/api/v1", headers=bearer(visitor.token)) as http:
        [ack] = (await http.post("/push", json=body)).json()["acks"]
        assert ack["status"] == "applied"


async def test_the_visitor_s_offsets_mean_nothing_in_the_reader_s_log(
    live: Live, proxy: Proxy, visitor: Visitor, store: Path
):
    async with connect(proxy.url, visitor.token, store=store) as phone:
        await phone.put("progress", "moby-dick", {"percentage": 0.1})
        await shown(phone, {"moby-dick": 0.1})
        proxy.down = True
        phone.enqueue(put(0.2, updated_at=datetime.now(UTC) - timedelta(minutes=1)))
        stood_at = phone.rows["progress", "moby-dick"].offset
        [waiting] = phone._core.outbox._entries.values()
        assert waiting.base == stood_at == 2
    async with connect(live.url, token("ada")) as tablet:
        for percentage in (0.7, 0.8):
            ack = await tablet.put("progress", "moby-dick", {"percentage": percentage})
        assert ack.offset == stood_at

    await claim(live, visitor)
    proxy.down = False
    async with connect(proxy.url, token("ada"), store=store) as phone:
        [ack] = await settled(phone, 1)
        assert ack.status == "superseded", "it never saw the row that it would overwrite, and is older"
        await shown(phone, {"moby-dick": 0.8})


async def test_a_token_callable_may_turn_to_the_reader_s_without_a_new_client(live: Live, visitor: Visitor):
    present = [visitor.token]
    async with connect(live.url, lambda: present[0], transports=["poll"], poll_interval_s=0.05) as phone:
        await phone.put("progress", "moby-dick", {"percentage": 0.5})
        present[0] = token("ada")
        await claim(live, visitor)
        await phone.put("progress", "emma", {"percentage": 0.6})
        await shown(phone, {"moby-dick": 0.5, "emma": 0.6})
    async with connect(live.url, token("ada")) as fresh:
        await fresh.ready()
        assert {key for _, key in fresh.rows} == {"moby-dick", "emma", visitor.session_id}
