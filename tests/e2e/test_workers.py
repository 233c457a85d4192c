"""`serve --workers 2`: two processes behind one port are one server, and one whole to whoever ends it."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from tests import prototype
from tests.devices import Device
from tests.harness import Program

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is seen in /proc who has a socket")
FLAGS = ("--workers", "2", "--sockets-per-owner", "4", "--tickets-per-minute", "5", "--presence-s", "2")


@pytest.fixture(scope="module")
def pair() -> Iterator[Program]:
    """A server of two workers; each test has readers of its own."""
    with tempfile.TemporaryDirectory(prefix="syncserver-tests-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        prototype.lay(folder)
        found = Program(folder)
        found.start(*FLAGS)
        yield found
        found.end()


def again(program: Program) -> None:
    """Started anew, whether or not a test before has ended it; on a port of its own, as the old one may be taken."""
    program.end()
    program.port = 0
    program.start(*FLAGS)


def workers(program: Program) -> list[int]:
    """Their process ids, the newest last."""
    assert program.process
    pid = program.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def has(worker: int, server_port: int, client_port: int) -> bool:
    """Whether this process has the server's end of the connection from that port."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        ports = [int(columns[end].partition(":")[2], 16) for end in (1, 2)]
        if ports == [server_port, client_port]:
            return any(link == f"socket:[{columns[9]}]" for link in links(worker))
    return False


def links(process: int) -> list[str]:
    found = []
    for name in os.listdir(f"/proc/{process}/fd"):  # noqa: PTH208 - names, not paths
        try:
            found.append(os.readlink(f"/proc/{process}/fd/{name}"))  # noqa: PTH115 - what it says is no path
        except FileNotFoundError:
            continue
    return found


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - the kernel tells of no process that is nobody's child here
            await asyncio.sleep(0.01)


def alive(*processes: int) -> list[int]:
    return [pid for pid in processes if Path(f"/proc/{pid}").exists()]


async def connected(program: Program, worker: int) -> socket.socket:
    """A connection that this worker has accepted."""
    others = [pid for pid in workers(program) if pid != worker]
    while True:
        line = socket.create_connection(("127.0.0.1", program.port))
        ends = program.port, line.getsockname()[1]
        await until(lambda ends=ends: any(has(pid, *ends) for pid in (worker, *others)))  # type: ignore[misc]
        if has(worker, *ends):
            return line
        line.close()


@asynccontextmanager
async def device(
    program: Program, worker: int, token: str, name: str, client_id: str | None = None
) -> AsyncIterator[Device]:
    """A device whose socket is in this worker."""
    url = program.url.replace("http", "ws") + "/api/v1/socket"
    line = await connected(program, worker)
    async with websockets.connect(url, sock=line, subprotocols=[websockets.Subprotocol("syncserver.v1")]) as opened:
        found = Device(opened, "", name)
        hello = {"device": {"id": name, "name": name}, "sent_at": "2026-11-22T08:15:00.000000Z", "protocol": [1, 1]}
        await found.say("hello", token=token, client_id=client_id or str(uuid4()), **hello)
        welcome = await found.hear()
        if welcome["type"] != "welcome":
            raise PermissionError(welcome["code"])
        found.id = welcome["connection"]
        yield found


async def ended(opened: ClientConnection) -> int | None:
    """How a socket is closed, whatever comes before."""
    async with asyncio.timeout(30):
        try:
            while True:
                await opened.recv()
        except websockets.ConnectionClosed:
            return opened.close_code


async def heard(one: Device, kind: str) -> dict[str, Any]:
    while (frame := await one.hear())["type"] != kind:
        pass
    return frame


async def test_devices_in_both_workers_hear_each_other(pair: Program):
    token, (one, two) = pair.token("ada"), workers(pair)
    async with device(pair, one, token, "phone") as phone, device(pair, two, token, "tablet") as tablet:
        await phone.say("presence", state={"page": 7})
        await tablet.say("presence", state=None)
        await phone.told_of(("tablet", None))
        await tablet.told_of(("phone", {"page": 7}))
        await phone.say("broadcast", topic="page", data=8)
        assert (await heard(tablet, "broadcast"))["data"] == 8
        await tablet.say("subscribe", resources=["progress"], cursor=None)
        await heard(tablet, "ready")
        mutation = {"mutation_id": str(uuid4()), "resource": "progress", "key": str(uuid4()), "op": "put"}
        await phone.say("push", mutations=[{**mutation, "data": {"percentage": 0.5}}])
        assert (await heard(tablet, "changes"))["rows"][0]["key"] == mutation["key"]


async def test_a_newer_socket_of_a_client_takes_the_place_of_one_in_the_other_worker(pair: Program):
    token, (one, two) = pair.token("eva"), workers(pair)
    client_id = str(uuid4())
    async with device(pair, one, token, "phone", client_id) as older, AsyncExitStack() as stack:
        for number in range(3):
            await stack.enter_async_context(device(pair, two, token, f"d{number}"))
        newer = await stack.enter_async_context(device(pair, two, token, "phone", client_id))
        assert await ended(older.socket) == 4004
        assert await newer.heard_no_more()


async def test_sockets_of_a_reader_are_counted_over_both(pair: Program):
    token, (one, two) = pair.token("ben"), workers(pair)
    async with AsyncExitStack() as stack:
        for number, worker in enumerate([one, two, one, two]):
            last = await stack.enter_async_context(device(pair, worker, token, f"d{number}"))
        for worker in (one, two):
            with pytest.raises(PermissionError, match="rate_limited"):
                await stack.enter_async_context(device(pair, worker, token, "fifth"))
        await last.socket.close()
        await stack.enter_async_context(device(pair, one, token, "fifth"))


async def test_tickets_of_a_reader_are_counted_over_both(pair: Program):
    headers = {"Authorization": f"Bearer {pair.token('kim')}"}
    answers = []
    for _ in range(20):
        async with httpx.AsyncClient(base_url=pair.url, headers=headers) as http:
            answers.append((await http.post("/api/v1/tickets")).status_code)
    assert answers.count(429) == 20 - sum(status < 300 for status in answers)
    assert sum(status < 300 for status in answers) <= 7  # 5, and what comes in so long; 10 where each counts for itself


async def test_a_worker_that_was_killed_comes_back_and_what_it_had_is_gone(pair: Program):
    token, (lives, killed) = pair.token("mia"), workers(pair)
    async with device(pair, lives, token, "phone") as phone, AsyncExitStack() as stack:
        await phone.say("presence", state=None)
        for number in range(3):
            lost = await stack.enter_async_context(device(pair, killed, token, f"d{number}"))
            await lost.say("presence", state=None)
        await phone.told_of(*((f"d{number}", None) for number in range(3)))
        os.kill(killed, signal.SIGKILL)
        await phone.told_of()
        await until(lambda: len(workers(pair)) == 2)
        new = workers(pair)[-1]
        assert new != killed
        for number in range(3):
            found = await stack.enter_async_context(device(pair, new, token, f"n{number}"))
        await found.say("presence", state={"page": 1})
        await phone.told_of((found.name, {"page": 1}))


async def test_both_say_goodbye_at_the_end(pair: Program):
    token, both = pair.token("lou"), workers(pair)
    async with device(pair, both[0], token, "phone") as phone, device(pair, both[1], token, "tablet") as tablet:
        ending = asyncio.create_task(asyncio.to_thread(pair.end, signal.SIGTERM))
        assert {(await one.hear())["type"] for one in (phone, tablet)} == {"goodbye"}
        assert [await ended(one.socket) for one in (phone, tablet)] == [1012, 1012]
        assert await ending == 0
    assert alive(*both) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", pair.port))


async def test_kill_9_of_the_parent_leaves_nothing(pair: Program):
    again(pair)
    all_of_it = [*workers(pair), pair.postmaster()]
    assert len(all_of_it) == 3
    pair.end(signal.SIGKILL)
    await until(lambda: alive(*all_of_it) == [])


async def test_a_port_that_another_server_shares_is_taken(pair: Program):
    again(pair)
    with tempfile.TemporaryDirectory() as folder:
        answer = pair.run("serve", "--data-dir", folder, "--port", str(pair.port), "--workers", "2")
    assert answer.returncode == 1
    assert f"Port {pair.port} on 127.0.0.1 cannot be used" in answer.stderr
