"""Bodies are bounded before anybody looks at them, on every route that takes one."""

import asyncio
import json

import httpx
import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from syncserver.api.body import Route
from syncserver.app import wiring
from syncserver.app.settings import Settings
from tests.api.problems import problem
from tests.harness import SECRET, Live, Serving, token
from tests.transports.stalled import Peer, peer

JSON = {"Content-Type": "application/json"}


def head(length: int, more: str = "") -> bytes:
    return (
        f"PUT /api/v1/progress/k HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token('ada')}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
    ).encode()


def client(live: Live) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"{live.url}/api/v1", headers=live.headers(), timeout=30)


async def until_answered(sender: Peer) -> bytes:
    """The whole answer: its problem document ends it."""
    found = b""
    async with asyncio.timeout(20):
        while b"}" not in found:
            more = await sender.read()
            assert more, found
            found += more
    return found


async def alive(live: Live) -> bool:
    async with client(live) as http:
        return (await http.put("/progress/other", json={"percentage": 0.5})).status_code == 200


async def test_every_route_that_takes_a_body_bounds_it():
    parts = wiring.Parts(Settings(), "postgresql:///unused", SECRET)
    routes = [context.original_route for context in iter_route_contexts(wiring.application(parts).routes)]
    taking = [route for route in routes if isinstance(route, APIRoute) and route.body_field is not None]
    assert [route.path for route in taking if not isinstance(route, Route)] == []
    assert len(taking) > 4
    await parts.database.close()


@pytest.mark.parametrize("length", [4_097, 10**19])
async def test_a_length_over_the_limit_is_refused_before_anything_came(serving: Serving, length: int):
    async with serving(frame_bytes=4_096) as live, peer(live.port) as sender:
        await sender.send(head(length))
        assert (await until_answered(sender)).startswith(b"HTTP/1.1 413 ")
        assert await alive(live)


async def test_whoever_asks_first_is_not_told_to_go_on(serving: Serving):
    async with serving(frame_bytes=4_096) as live, peer(live.port) as sender:
        await sender.send(head(5_000, "Expect: 100-continue\r\n"))
        assert (await until_answered(sender)).startswith(b"HTTP/1.1 413 ")


async def test_a_body_just_within_the_limit_is_taken(serving: Serving):
    body = json.dumps({"percentage": 0.5})
    async with serving(frame_bytes=4_096) as live, client(live) as http:
        assert (await http.put("/progress/k", content=body.ljust(4_096), headers=JSON)).status_code == 200
        problem(await http.put("/progress/k", content=body.ljust(4_097), headers=JSON), 413, "too_large")


async def test_a_body_that_drips_in_is_given_up_and_its_line_closed(serving: Serving):
    async with serving(body_s=0.1) as live, peer(live.port) as sender:
        await sender.send(head(100) + b'{"percentage"')
        said = await sender.rest()
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b'"body_timeout"' in said
        assert await alive(live)


async def test_what_is_left_of_a_body_that_was_answered_is_not_waited_for_for_ever(serving: Serving):
    async with serving(frame_bytes=4_096, handshake_s=0.1) as live, peer(live.port) as sender:
        await sender.send(head(5_000))
        assert (await until_answered(sender)).startswith(b"HTTP/1.1 413 ")
        await sender.send(b"x")
        assert await sender.rest() == b""
        assert await alive(live)


async def test_a_refused_body_that_comes_all_the_same_leaves_the_line_in_order(serving: Serving):
    async with serving(frame_bytes=4_096) as live, peer(live.port) as sender:
        await sender.send(head(200_000) + b"x" * 200_000)
        assert (await until_answered(sender)).startswith(b"HTTP/1.1 413 ")
        await sender.send(head(19) + b'{"percentage": 0.5}')
        assert (await until_answered(sender)).startswith(b"HTTP/1.1 200 ")


async def test_a_body_nested_too_deep_is_refused_and_one_level_less_is_looked_at(serving: Serving):
    async with serving(json_depth=8) as live, client(live) as http:
        for levels, status in ((9, 413), (8, 422)):
            answer = await http.put(
                "/progress/k", content='{"percentage":' + "[" * (levels - 1) + "]" * (levels - 1) + "}", headers=JSON
            )
            assert answer.status_code == status
        problem(await http.put("/progress/k", content="[" * 100_000, headers=JSON), 400, "malformed")
        assert await alive(live)
