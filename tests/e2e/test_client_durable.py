"""Writes that outlive the program: killed at any point, each accepted one is applied exactly once, in order."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import syncserver_client
from syncserver_client import Client, Mutation, State

from tests.faults.proxy import Proxy
from tests.harness import Live, Urls, environment, token

_PATIENCE_S = 30
KILLS = 20
MOST = 100_000


@pytest.fixture
async def proxy(live: Live) -> AsyncIterator[Proxy]:
    async with Proxy(live.port).running() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def connect(url: str, store: Path, **more: Any) -> Client:
    quick = {"backoff_first_s": 0.05, "backoff_most_s": 0.2}
    return syncserver_client.connect(url, token("ada"), "phone", store=store, **{**quick, **more})


async def empty(client: Client) -> list[syncserver_client.Ack]:
    """Wait until everything was answered; all acks that nobody heard before."""
    acks: list[syncserver_client.Ack] = []
    async with asyncio.timeout(_PATIENCE_S):
        heard = client.acks()
        while client.pending or not acks:
            acks.append(await anext(heard))
        while True:
            try:
                async with asyncio.timeout(0.01):
                    acks.append(await anext(heard))
            except TimeoutError:
                return acks


def put(number: int, key: str = "moby-dick") -> Mutation:
    return Mutation("put", "progress", key, {"percentage": number / 100})


async def test_what_was_written_without_a_network_is_sent_by_the_next_run_in_order(proxy: Proxy, store: Path):
    proxy.down = True
    async with connect(proxy.url, store) as phone:
        ids = [phone.enqueue(put(n)) for n in range(5)]
        assert phone.rows["progress", "moby-dick"].value == {"percentage": 0.04}
        assert [mutation.mutation_id for mutation in phone.pending] == ids
    proxy.down = False
    async with connect(proxy.url, store) as phone:
        assert phone.rows["progress", "moby-dick"].pending
        acks = await empty(phone)
    assert [(ack.mutation_id, ack.status, ack.offset) for ack in acks] == [
        (name, "applied", n + 1) for n, name in enumerate(ids)
    ]


async def test_a_write_whose_caller_gave_up_stays_and_its_ack_can_be_heard(proxy: Proxy, store: Path):
    proxy.down = True
    async with connect(proxy.url, store, timeout_s=0.1) as phone:
        mutation = put(1)
        with pytest.raises(syncserver_client.Offline):
            await phone.push([mutation])
        assert phone.pending == [mutation]
        proxy.down = False
        phone.network_changed()
        (ack,) = await empty(phone)
        assert (ack.mutation_id, ack.status) == (mutation.mutation_id, "applied")


async def test_without_a_store_it_is_forgotten(proxy: Proxy):
    proxy.down = True
    async with syncserver_client.connect(proxy.url, token("ada"), "phone", timeout_s=0.1) as phone:
        with pytest.raises(syncserver_client.Offline):
            await phone.push([put(1)])
        assert phone.pending == []
        assert not phone.rows


async def test_the_same_mutation_may_be_pushed_again_while_it_waits(proxy: Proxy, store: Path):
    proxy.down = True
    async with connect(proxy.url, store, timeout_s=0.1) as phone:
        mutation = put(1)
        with pytest.raises(syncserver_client.Offline):
            await phone.push([mutation])
    proxy.down = False
    async with connect(proxy.url, store) as phone:
        (ack,) = await phone.push([mutation])
        assert (ack.status, ack.offset, phone.pending) == ("applied", 1, [])


async def test_an_app_starts_without_a_network_with_what_it_had_and_goes_on_from_there(
    live: Live, proxy: Proxy, store: Path
):
    async with connect(proxy.url, store) as phone:
        await phone.ready()
        await phone.put("progress", "moby-dick", {"percentage": 0.5})
        async with asyncio.timeout(_PATIENCE_S), phone.subscribe() as changes:
            while (await anext(changes)).pending:
                pass
        had = dict(phone.rows)
        cursor = phone._core.mirror.cursor
    proxy.down = True
    async with connect(proxy.url, store) as phone:
        assert dict(phone.rows) == had
        assert phone.synced_at is not None
        assert phone._core.mirror.cursor == cursor
        async with syncserver_client.connect(live.url, token("ada"), "tablet") as tablet:
            await tablet.put("progress", "emma", {"percentage": 0.1})
        proxy.down = False
        async with asyncio.timeout(_PATIENCE_S), phone.subscribe(initial=False) as changes:
            change = await anext(changes)
        assert (change.key, change.offset) == ("emma", 2)


async def test_after_a_long_absence_all_is_compared(live: Live, database: Urls, store: Path):
    async with connect(live.url, store) as phone:
        await phone.ready()
        for key in ("kept", "gone"):
            await phone.put("progress", key, {"percentage": 0.1})
        async with asyncio.timeout(_PATIENCE_S), phone.subscribe() as changes:
            while (await anext(changes)).offset < 2:
                pass
    with psycopg.connect(database.owner) as connection:  # what no trigger saw
        connection.execute("ALTER TABLE reading_progress DISABLE TRIGGER ALL")
        connection.execute("DELETE FROM reading_progress WHERE publication_id = 'gone'")
        connection.execute("DELETE FROM changes WHERE key = 'gone'")
        connection.execute("ALTER TABLE reading_progress ENABLE TRIGGER ALL")
    async with connect(live.url, store) as phone:
        await phone.ready()
        assert len(phone.rows) == 2, "a short absence is no reason"
    async with connect(live.url, store, verify_after_s=0.0) as phone:
        async with asyncio.timeout(_PATIENCE_S), phone.subscribe(initial=False) as changes:
            assert (await anext(changes)).op == "remove"
        assert [key for _, key in phone.rows] == ["kept"]


async def _run_writer(live: Live, store: Path, first: int, kill_after: float | None) -> list[list[str]]:
    """One life of the program; what it said."""
    last = MOST if kill_after is not None else first + 10
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("writer.py")),
        *(live.url, token("ada"), str(store), str(first), str(last)),
        stdout=asyncio.subprocess.PIPE,
        env={**environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert program.stdout is not None
    said: list[list[str]] = []
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while line := await program.stdout.readline():
                if not line.endswith(b"\n"):
                    break  # it was killed in the middle of a word
                said.append(line.decode().split())
                if kill_after is not None and len(said) >= kill_after and program.returncode is None:
                    program.send_signal(signal.SIGKILL)
                    kill_after = float("inf")
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()
    return said


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_killed_at_any_point_each_accepted_write_is_applied_once_and_in_order(
    live: Live, store: Path, database: Urls
):
    seed = int(os.environ.get("SYNCSERVER_TEST_SEED", random.randrange(10**6)))
    print(f"SYNCSERVER_TEST_SEED={seed}")
    draw = random.Random(seed)
    begun: dict[int, str] = {}
    accepted: dict[int, str] = {}
    first = 1
    for _ in range(KILLS):
        said = await _run_writer(live, store, first, kill_after=draw.randint(1, 60))
        begun |= {int(number): name for what, number, name in said if what == "begun"}
        accepted |= {int(number): name for what, number, name in said if what == "accepted"}
        first = max(begun) + 1
    said = await _run_writer(live, store, first, kill_after=None)
    assert said[-1] == ["done"]
    accepted |= {
        int(number): name for what, number, name in (line for line in said if len(line) == 3) if what == "accepted"
    }
    begun |= accepted

    async with connect(live.url, store) as phone:
        await phone.ready()
        assert phone.pending == []
        async with syncserver_client.connect(live.url, token("ada"), "fresh", optimistic=False) as fresh:
            await fresh.ready()
            rows = {key: (row.offset, row.value) for key, row in fresh.rows.items()}
        async with asyncio.timeout(_PATIENCE_S), phone.subscribe() as changes:
            while {key: (row.offset, row.value) for key, row in phone.rows.items()} != rows:
                await anext(changes)
        assert phone.state is State.LIVE
    with psycopg.connect(database.owner) as connection:
        ledger = connection.execute('SELECT mutation_id::text, "offset" FROM mutations ORDER BY "offset"').fetchall()
        (head,) = connection.execute("SELECT head FROM channels").fetchone() or (0,)
    number_of = {name: number for number, name in begun.items()}
    order = [number_of[name] for name, _ in ledger]
    assert set(accepted) <= set(order), "an accepted write was lost"
    assert None not in [offset for _, offset in ledger], "a write lost against an older one of the same device"
    for row in range(3):  # the server writes different rows of one push together
        numbers = [number for number in order if number % 3 == row]
        assert numbers == sorted(set(numbers)), "not in order"
    assert [offset for _, offset in ledger] == list(range(1, head + 1)), "a write was applied twice, or two at once"
    latest = {f"book-{number % 3}": str(number) for number in sorted(order)}
    assert {key: value["position"] for (_, key), (_, value) in rows.items() if value} == latest
