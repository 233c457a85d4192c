import httpx

from tests.api.problems import problem
from tests.harness import Live


async def test_a_server_that_is_about_to_stop_is_alive_and_not_ready(live: Live):
    async with httpx.AsyncClient(base_url=live.url) as http:
        assert (await http.get("/readyz")).status_code == 200
        await live.parts.house.drain(0, 0)
        problem(await http.get("/readyz"), 503, "unavailable")
        assert (await http.get("/healthz")).status_code == 200
