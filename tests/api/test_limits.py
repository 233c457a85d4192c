"""Every limit of HTTP is hit on a real server: 429 with a time to come back, nothing is lost, others are not harmed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.anonymous import begun
from tests.api.problems import problem
from tests.harness import Live, Serving

ELSEWHERE = {"X-Forwarded-For": "192.0.2.9"}


@asynccontextmanager
async def client(live: Live, user: str = "ada") -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{live.url}/api/v1", headers=live.headers(user), timeout=30) as found:
        yield found


def later(live: Live, seconds: float) -> None:
    """From now on it is that much later, for the limits."""
    live.parts.limits._clock = lambda: time.monotonic() + seconds


def limited(answer: httpx.Response) -> int:
    """The seconds after which to come back; fails if the answer is anything but a limit."""
    assert problem(answer, 429, "rate_limited")
    return int(answer.headers["Retry-After"])


def put(key: str) -> dict[str, Any]:
    return {
        "mutation_id": str(uuid4()),
        "resource": "progress",
        "key": key,
        "op": "put",
        "data": {"percentage": 0.5},
    }


def pushed(*mutations: dict[str, Any]) -> dict[str, Any]:
    return {"device": {"id": "phone"}, "client_id": "c", "mutations": list(mutations)}


async def test_a_push_over_the_limit_was_not_applied_and_is_when_it_comes_again(serving: Serving):
    late = pushed(*(put(f"b{n}") for n in range(60)))
    async with serving(mutations_per_s=10) as live, client(live) as http, client(live, "eve") as eve:
        live.parts.limits._clock = lambda: 0.0  # no time passes, however slow the machine
        assert (await http.post("/push", json=pushed(*(put(f"a{n}") for n in range(60))))).status_code == 200
        assert limited(await http.post("/push", json=late)) == 2
        assert len((await http.get("/changes")).json()["rows"]) == 60
        assert (await eve.post("/push", json=pushed(put("k")))).status_code == 200
        live.parts.limits._clock = lambda: 2.0
        acks = (await http.post("/push", json=late)).json()["acks"]
    assert {ack["status"] for ack in acks} == {"applied"}


async def test_each_way_to_write_counts(serving: Serving):
    async with serving(mutations_per_s=1) as live, client(live) as http:
        live.parts.limits._clock = lambda: 0.0  # no time passes, however slow the machine
        conflict = await _conflict(http)
        for n in range(8):
            assert (await http.put(f"/progress/{n}", json={"percentage": 0.1})).status_code == 200
        assert [
            limited(await http.put("/progress/k", json={"percentage": 0.2})),
            limited(await http.patch("/progress/k", json={"percentage": 0.2})),
            limited(await http.delete("/progress/k")),
            limited(await http.post(f"/conflicts/{conflict}/restore")),
            limited(await http.post("/push", json=pushed(put("k")))),
        ] == [1] * 5
        assert (await http.get("/progress/k")).json()["percentage"] == 0.5


async def _conflict(http: httpx.AsyncClient) -> str:
    """The id of a conflict; two mutations."""
    await http.put("/progress/k", json={"percentage": 0.5, "device_id": "tablet"})
    older = {"percentage": 0.1, "device_id": "phone", "updated_at": "2020-01-01T00:00:00.000000Z"}
    return str((await http.put("/progress/k", json=older)).json()["conflict_id"])


async def test_requests_of_one_reader(serving: Serving):
    async with serving(requests_per_s=2) as live, client(live) as http, client(live, "eve") as eve:
        live.parts.limits._clock = lambda: 0.0
        for _ in range(8):
            assert (await http.get("/progress")).status_code == 200
        assert limited(await http.get("/progress")) == 1
        assert (await eve.get("/progress")).status_code == 200
        later(live, 1)
        assert (await http.get("/progress")).status_code == 200


async def test_tickets_of_one_reader(serving: Serving):
    async with serving(tickets_per_minute=2) as live, client(live) as http, client(live, "eve") as eve:
        assert [(await http.post("/tickets")).status_code for _ in range(2)] == [201, 201]
        assert 29 <= limited(await http.post("/tickets")) <= 30
        assert (await eve.post("/tickets")).status_code == 201
        later(live, 30)
        assert (await http.post("/tickets")).status_code == 201


@pytest.mark.parametrize("path", ["/progress", "/changes/stream", "/changes/stream?ticket=wrong"])
async def test_after_too_many_wrong_keys_none_is_looked_at_for_a_while(serving: Serving, path: str):
    wrong = {} if "ticket" in path else {"Authorization": "Bearer wrong"}
    async with serving(wrong_keys_per_minute=2) as live, client(live) as http:
        anonymous = httpx.AsyncClient(base_url=str(http.base_url))
        async with anonymous:
            assert [(await anonymous.get(path, headers=wrong)).status_code for _ in range(2)] == [401, 401]
        assert 25 < limited(await http.get("/progress")) <= 30
        assert (await http.get("/progress", headers=ELSEWHERE)).status_code == 200
        later(live, 30)
        assert (await http.get("/progress")).status_code == 200


async def test_a_wrong_visitor_s_token_in_a_claim_counts_as_a_wrong_key(serving: Serving):
    async with serving(wrong_keys_per_minute=2) as live, client(live) as http:
        visitor, other = await begun(http), await begun(http)
        for wrong in (other.token, "wrong"):
            assert (await http.post(f"{visitor.path}/claim", json={"token": wrong})).status_code == 422
        assert 25 < limited(await http.post(f"{visitor.path}/claim", json={"token": visitor.token})) <= 30
        later(live, 30)
        assert (await http.post(f"{visitor.path}/claim", json={"token": visitor.token})).status_code == 200


async def test_streams_and_long_polls_of_one_reader(serving: Serving):
    async with serving(streams_per_owner=2) as live, AsyncExitStack() as stack:
        http, eve = [await stack.enter_async_context(client(live, user)) for user in ("ada", "eve")]
        cursor = (await http.get("/changes")).headers["Sync-Cursor"]
        waiting = asyncio.create_task(http.get("/changes", params={"wait": 60, "cursor": cursor}))
        await _here(live, 1)
        async with http.stream("GET", "/changes/stream") as stream:
            assert stream.status_code == 200
            await _here(live, 2)
            assert limited(await http.get("/changes/stream")) == 10
            assert limited(await http.get("/changes", params={"wait": 1, "cursor": cursor})) == 10
            async with eve.stream("GET", "/changes/stream") as other:
                assert other.status_code == 200
            await http.put("/progress/k", json={"percentage": 0.5})
            assert (await waiting).status_code == 200
            async with http.stream("GET", "/changes/stream") as again:
                assert again.status_code == 200


async def _here(live: Live, number: int) -> None:
    async with asyncio.timeout(10):
        while len(live.parts.house) != number:  # noqa: ASYNC110 - turns of the loop
            await asyncio.sleep(0)


@pytest.mark.parametrize(("proxies", "status"), [("127.0.0.1", 200), ("192.0.2.1", 429)])
async def test_streams_of_one_address_as_a_proxy_names_it_if_it_is_believed(
    serving: Serving, proxies: str, status: int
):
    limit = {"connections_per_address": 1, "trusted_proxies": proxies}
    async with serving(**limit) as live, client(live) as http, client(live, "eve") as eve:
        async with http.stream("GET", "/changes/stream"):
            assert limited(await eve.get("/changes/stream")) == 10
            assert limited(await eve.get("/changes", params={"wait": 1})) == 10
            assert (await eve.get("/changes")).status_code == 204
            async with eve.stream("GET", "/changes/stream", headers=ELSEWHERE) as stream:
                assert stream.status_code == status
        await _here(live, 0)
        async with eve.stream("GET", "/changes/stream") as stream:
            assert stream.status_code == 200


async def test_a_row_too_many_is_refused_until_there_is_room(serving: Serving):
    async with serving(rows_per_owner=2) as live, client(live) as http, client(live, "eve") as eve:
        for key in "ab":
            assert (await http.put(f"/progress/{key}", json={"percentage": 0.5})).status_code == 200
        refused = await http.put("/progress/c", json={"percentage": 0.5})
        assert problem(refused, 403, "quota")
        assert (await http.put("/progress/a", json={"percentage": 0.6})).status_code == 200
        assert (await eve.put("/progress/c", json={"percentage": 0.5})).status_code == 200
        assert (await http.delete("/progress/a")).status_code == 204
        assert (await http.put("/progress/c", json={"percentage": 0.5})).status_code == 200
