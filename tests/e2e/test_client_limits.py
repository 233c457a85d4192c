"""The client against a server that has had enough of it: it waits for as long as it is told, and nothing is lost."""

import asyncio

import psycopg
import pytest
from syncserver_client import State

from syncserver.core.errors import RateLimited
from tests.e2e.test_client_transports import connect, reached
from tests.harness import Serving

_PATIENCE_S = 60


def stored(sql: psycopg.Connection) -> int:
    found = sql.execute("SELECT count(*), sum(percentage) FROM reading_progress").fetchone()
    assert found is not None
    assert found[1] == pytest.approx(found[0] * 0.5)
    return int(found[0])


@pytest.mark.parametrize(
    ("transport", "state"), [("socket", State.LIVE), ("stream", State.STREAMING), ("poll", State.POLLING)]
)
async def test_more_writes_than_may_be_all_land_on_the_same_transport(
    serving: Serving, sql: psycopg.Connection, transport: str, state: State
):
    async with serving(mutations_per_s=60) as live, connect(live.url, transports=[transport]) as client:
        await reached(client, state)
        async with asyncio.timeout(_PATIENCE_S):
            writes = (client.put("progress", str(n), {"percentage": 0.5}) for n in range(700))
            acks = await asyncio.gather(*writes)
    assert {ack.status for ack in acks} == {"applied"}
    assert stored(sql) == 700


async def test_a_client_that_finds_no_place_goes_on_asking_by_the_best_transport(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("syncserver.engine.limits._ROOM_S", 0.05)
    refusals = asyncio.Queue[None]()
    async with serving(sockets_per_owner=1) as live:
        room = live.parts.limits.socket

        def noted(present: int) -> None:
            try:
                room(present)
            except RateLimited:
                refusals.put_nowait(None)
                raise

        monkeypatch.setattr(live.parts.limits, "socket", noted)
        async with (
            connect(live.url, "tablet", transports=["socket", "poll"]) as tablet,
            asyncio.timeout(_PATIENCE_S),
        ):
            await reached(tablet, State.LIVE)
            async with connect(live.url, transports=["socket", "poll"]) as phone:
                for _ in range(4):
                    await refusals.get()
                    assert phone.state is State.CONNECTING
                await tablet.close()
                await reached(phone, State.LIVE)


async def test_a_writer_that_never_rests_is_not_sent_away(serving: Serving, sql: psycopg.Connection):
    """One write after the other, each as soon as the one before is answered: far more than a socket may send frames."""
    async with serving() as live, connect(live.url, transports=["socket"]) as client:
        await reached(client, State.LIVE)
        came = live.parts.house.of("user:ada")
        for n in range(300):
            await client.put("progress", str(n), {"percentage": 0.5})
        assert live.parts.house.of("user:ada") == came  # the very socket
    assert stored(sql) == 300
