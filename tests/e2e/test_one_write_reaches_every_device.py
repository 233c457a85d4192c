"""The spine, with the real client: a write over any door shows on another device."""

import asyncio

import httpx
import psycopg
import syncserver_client

from tests.harness import Live, Urls, token


async def test_a_write_over_rest_socket_and_sql_reaches_the_phone(live: Live, database: Urls):
    async with (
        syncserver_client.connect(live.url, token("ada"), device="phone") as phone,
        syncserver_client.connect(live.url, token("ada"), device="tablet") as tablet,
        phone.subscribe() as changes,
        httpx.AsyncClient(base_url=live.url, headers=live.headers("ada")) as http,
    ):
        await phone.ready()

        await http.put("/api/v1/progress/moby-dick", json={"percentage": 0.25, "device_id": "tablet"})
        first = await anext(changes)
        await tablet.ready()
        await tablet.patch("progress", "moby-dick", {"percentage": 0.5})
        second = await anext(changes)
        with psycopg.connect(database.owner) as connection:
            await asyncio.to_thread(connection.execute, "UPDATE reading_progress SET percentage = 0.75")
            await asyncio.to_thread(connection.commit)
        third = await anext(changes)

    assert [c.value["percentage"] for c in (first, second, third) if c.value] == [0.25, 0.5, 0.75]
    assert [c.device_id for c in (first, second, third)] == ["tablet", "tablet", None]
