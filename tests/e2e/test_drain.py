"""A server that is asked to stop: everybody is told, whatever they do, and it ends in time; nothing is lost by it."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
import syncserver_client
import websockets
from syncserver_client import Client
from websockets.asyncio.client import ClientConnection

from tests.harness import Program
from tests.transports.sockets import HELLO
from tests.transports.stalled import Peer, greeted_peer, peer

in_thread = asyncio.to_thread


@asynccontextmanager
async def socket(program: Program, token: str) -> AsyncIterator[ClientConnection]:
    url = program.url.replace("http", "ws", 1) + "/api/v1/socket"
    async with websockets.connect(url) as connection:
        await connection.send(json.dumps({**HELLO, "client_id": str(uuid4()), "token": token}))
        assert json.loads(await connection.recv())["type"] == "welcome"
        yield connection


async def goodbye(connection: ClientConnection) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(await connection.recv())
    with pytest.raises(websockets.ConnectionClosed):
        await connection.recv()
    assert connection.close_code == 1012
    return told


@asynccontextmanager
async def stream(http: httpx.AsyncClient) -> AsyncIterator[AsyncIterator[str]]:
    async with http.stream("GET", "/changes/stream", params={"resources": "progress"}) as answer:
        lines = answer.aiter_lines()
        async for line in lines:
            if line == "event: ready":
                break
        yield lines


async def goodbye_of(lines: AsyncIterator[str]) -> dict[str, Any]:
    """The rest of a stream, which ends with goodbye."""
    told = [json.loads(line.removeprefix("data:")) async for line in lines if line.startswith("data:")]
    assert told[-1]["type"] == "goodbye"
    found: dict[str, Any] = told[-1]
    return found


async def filled(http: httpx.AsyncClient) -> None:
    """Some megabytes, which a reader that has stalled does not take."""
    for _ in range(4):
        mutations = [
            {
                "mutation_id": str(uuid4()),
                "resource": "progress",
                "key": str(uuid4()),
                "op": "put",
                "data": {"position": "p" * 4000},
            }
            for _ in range(200)
        ]
        body = {"device": {"id": "d"}, "client_id": "filler", "mutations": mutations}
        assert (await http.post("/push", json=body)).status_code == 200


async def half_asked(program: Program, stack: AsyncExitStack) -> Peer:
    """A request whose body never comes whole."""
    found = await stack.enter_async_context(peer(program.port))
    await found.send(b"POST /api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    return found


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_everybody_is_told_and_the_end_comes_whatever_they_do(program: Program, number: signal.Signals):
    await in_thread(program.start)
    tokens = [await in_thread(program.token, user) for user in ("ada", "ben")]
    headers = {"Authorization": f"Bearer {tokens[0]}"}
    limits = httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(base_url=f"{program.url}/api/v1", headers=headers, timeout=60, limits=limits) as ada,
        httpx.AsyncClient(
            base_url=f"{program.url}/api/v1",
            headers={"Authorization": f"Bearer {tokens[1]}"},
            timeout=60,
            limits=limits,
        ) as ben,
        AsyncExitStack() as stack,
    ):
        await filled(ada)
        sockets = [await stack.enter_async_context(socket(program, tokens[n % 2])) for n in range(60)]
        streams = [await stack.enter_async_context(stream(ben)) for _ in range(10)]
        polls = [asyncio.create_task(ben.get("/changes", params={"wait": 60})) for _ in range(10)]
        stalled = await stack.enter_async_context(
            greeted_peer(program.port, {**HELLO, "client_id": "stalled", "token": tokens[0]}, subscribed=False)
        )
        await stalled.say({"type": "subscribe", "cursor": None})
        await half_asked(program, stack)
        await ben.get("/changes")  # whatever was sent before this has been taken

        async with asyncio.timeout(10):
            ended = asyncio.create_task(in_thread(program.end, number))
            told = await asyncio.gather(*map(goodbye, sockets), *map(goodbye_of, streams))
            answers = await asyncio.gather(*polls)
            assert await ended == 0

    assert {frame["code"] for frame in told} == {1012}
    times = [frame["retry_after_s"] for frame in told]
    assert min(times) >= 0.2
    assert len(set(times)) > 30
    assert {answer.status_code for answer in answers} == {204}
    assert len({answer.headers["sync-cursor"] for answer in answers}) == 1


async def _write_on(client: Client, restarted: asyncio.Event) -> list[str]:
    """Write until a while after the restart; the keys that were acknowledged."""
    acknowledged, left = list[str](), 10
    while left:
        key = str(uuid4())
        await client.put("progress", key, {"percentage": 0.5})
        acknowledged.append(key)
        left -= restarted.is_set()
    return acknowledged


@pytest.mark.long
async def test_a_restart_under_load_loses_nothing(program: Program):
    await in_thread(program.start)
    token = await in_thread(program.token, "ada")
    restarted = asyncio.Event()
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                syncserver_client.connect(program.url, token, device=f"d{n}", backoff_most_s=0.5)
            )
            for n in range(5)
        ]
        writing = [asyncio.create_task(_write_on(client, restarted)) for client in clients]
        await clients[0].ready()
        for _ in range(2):
            assert await in_thread(program.end, signal.SIGTERM) == 0
            await in_thread(program.start)
        restarted.set()
        async with asyncio.timeout(60):
            acknowledged = {key for keys in await asyncio.gather(*writing) for key in keys}

        async with syncserver_client.connect(program.url, token, device="e-reader") as fresh:
            await fresh.ready()
            held = {key for _, key in fresh.rows}
    assert len(acknowledged) >= 50
    assert acknowledged <= held
