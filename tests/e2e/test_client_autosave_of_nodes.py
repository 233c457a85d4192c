"""A node of a workspace that saves itself, against the real server: edited on two devices, cut off, and killed."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import syncserver_client
from syncserver_client import Client, Row, Saving, State

from tests.faults.proxy import Proxy
from tests.harness import Live, environment, token
from tests.storage.workspace_rows import node, session

_PATIENCE_S = 30
_QUICK = {"quiet_s": 0.01, "most_s": 0.05}


@pytest.fixture
async def proxy(live: Live) -> AsyncIterator[Proxy]:
    async with Proxy(live.port).running() as running:
        yield running


@pytest.fixture
def place(sql: psycopg.Connection) -> str:
    """A session of ada's, with the node N001, whose title is Ahab."""
    session(sql, place := str(uuid4()))
    node(sql, "N001", place=place)
    return place


def connect(url: str, device: str = "phone", **more: Any) -> Client:
    quick = {"backoff_first_s": 0.05, "backoff_most_s": 0.2}
    return syncserver_client.connect(url, token("ada"), device, **{**quick, **more})


async def shows(client: Client, place: str, true: Callable[[dict[str, Any]], bool]) -> Row:
    """Wait until the node is so, and nothing of it waits."""
    key = f"{place}:N001"
    async with asyncio.timeout(_PATIENCE_S), client.subscribe() as changes:
        async for change in changes:
            if change.key == key and change.value is not None and not change.pending and true(change.value):
                return client.rows["nodes", key]
    raise AssertionError("ended")


async def reaches(saver: syncserver_client.NodeSaver, status: Saving) -> syncserver_client.SaveState:
    async with asyncio.timeout(_PATIENCE_S):
        async for state in saver.states():
            if state.status is status:
                return state
    raise AssertionError("ended")


async def cut_off(client: Client, proxy: Proxy) -> None:
    proxy.down = True
    proxy.cut()
    async with asyncio.timeout(_PATIENCE_S):
        async for state in client.states():
            if state is State.OFFLINE:
                return


def back(client: Client, proxy: Proxy) -> None:
    proxy.down = False
    client.network_changed()


def kept(sql: psycopg.Connection) -> tuple[str, str, dict[str, Any]]:
    row = sql.execute("SELECT title, content, metadata FROM nodes").fetchone()
    assert row is not None
    return row


def asked(sql: psycopg.Connection) -> int:
    """How many mutations the server has answered."""
    row = sql.execute("SELECT count(*) FROM mutations").fetchone()
    assert row is not None
    return int(row[0])


def later() -> datetime:
    """By more than two devices' ideas of the time can differ."""
    return datetime.now(UTC) + timedelta(seconds=1)


async def test_two_devices_that_edited_different_fields_offline_both_keep_theirs(
    live: Live, proxy: Proxy, sql: psycopg.Connection, place: str
):
    async with connect(proxy.url) as phone, connect(live.url, "tablet") as tablet:
        await shows(phone, place, lambda _: True)
        await shows(tablet, place, lambda _: True)
        async with phone.autosave_node(place, "N001", **_QUICK) as saver:
            seen = []
            await cut_off(phone, proxy)
            saver.change(title="Stubb", metadata={"colour": "black"})
            await reaches(saver, Saving.RETRYING)
            theirs = {"content": "The mate.", "metadata": {"size": 2}}
            await tablet.patch("nodes", f"{place}:N001", theirs, updated_at=later())
            states = saver.states()
            back(phone, proxy)
            async with asyncio.timeout(_PATIENCE_S):
                async for state in states:
                    seen.append(state.status)
                    if state.status is Saving.SAVED:
                        break
        assert Saving.CONFLICT not in seen
        await shows(tablet, place, lambda value: value["title"] == "Stubb")
    assert kept(sql) == ("Stubb", "The mate.", {"colour": "black", "size": 2})


async def _lost(phone: Client, tablet: Client, saver: syncserver_client.NodeSaver, proxy: Proxy) -> None:
    """The phone saves offline, the tablet later and first: the same field."""
    await cut_off(phone, proxy)
    saver.change(title="Stubb", content="Mine.")
    await reaches(saver, Saving.RETRYING)
    await tablet.patch("nodes", saver.key, {"content": "Theirs.", "metadata": {"size": 2}}, updated_at=later())
    back(phone, proxy)
    state = await reaches(saver, Saving.CONFLICT)
    assert state.row is not None
    assert state.row.value is not None
    assert (state.row.value["content"], state.row.device_id, state.ended) == ("Theirs.", "tablet", False)
    assert (state.differs, (state.mine or {})["content"]) == (("title", "content"), "Mine.")
    assert state.conflict_id is not None
    found = await phone.get_conflict(state.conflict_id)
    assert (found.winner.fields or {})["content"] == "Theirs."
    assert (found.loser.fields or {})["content"] == "Mine."


@pytest.mark.parametrize(
    ("mine", "expected"),
    [(True, ("Stubb", "Mine.", {"size": 2})), (False, ("Ahab", "Theirs.", {"size": 2}))],
)
async def test_the_same_field_is_a_conflict_and_the_writer_chooses(
    live: Live, proxy: Proxy, sql: psycopg.Connection, place: str, mine: bool, expected: tuple[Any, ...]
):
    async with connect(proxy.url) as phone, connect(live.url, "tablet") as tablet:
        await shows(phone, place, lambda _: True)
        async with phone.autosave_node(place, "N001", **_QUICK) as saver:
            await _lost(phone, tablet, saver, proxy)
            saver.keep_mine() if mine else saver.take_theirs()
            assert (await saver.flush()).status is Saving.SAVED
    assert kept(sql) == expected


async def test_a_burst_of_edits_sends_few_deltas_and_all_of_them(live: Live, sql: psycopg.Connection, place: str):
    async with connect(live.url) as phone:
        await shows(phone, place, lambda _: True)
        async with phone.autosave_node(place, "N001", quiet_s=0.2) as saver:
            for turn in range(50):
                saver.change(content="word " * turn, metadata={"turn": turn, "same": 1})
                await asyncio.sleep(0)
            await saver.flush()
            saver.change(metadata={"turn": 50, "same": 1})
            saver.queue_unsaved()
            assert [m.value for m in phone.pending] == [{"metadata": {"turn": 50}}]
            assert (await saver.flush()).status is Saving.SAVED
    assert kept(sql) == ("Ahab", "word " * 49, {"turn": 50, "same": 1})
    assert asked(sql) == 2


async def test_after_a_kill_the_next_run_sends_what_was_queued(
    proxy: Proxy, tmp_path: Path, sql: psycopg.Connection, place: str
):
    store = tmp_path / "store.db"
    async with connect(proxy.url, store=store) as phone:
        await shows(phone, place, lambda _: True)
    proxy.down = True
    pages = await _killed_after(3, proxy.url, store, place)
    proxy.down = False
    async with connect(proxy.url, store=store) as phone, phone.autosave_node(place, "N001") as saver:
        assert saver.row is not None
        assert saver.row.value is not None
        assert saver.row.value["metadata"]["page"] >= pages[-1]
        assert (await saver.flush()).status is Saving.SAVED
    title, content, metadata = kept(sql)
    assert title == "Ahab"
    assert metadata["page"] >= pages[-1]
    assert content == f"page {metadata['page']}"


async def _killed_after(queued: int, url: str, store: Path, place: str) -> list[int]:
    """The pages that a writer's program had queued when it was killed."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("editor.py")),
        *(url, token("ada"), str(store), place),
        stdout=asyncio.subprocess.PIPE,
        env={**environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert program.stdout is not None
    said: list[int] = []
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while line := await program.stdout.readline():
                said.append(int(line.split()[1]))
                if len(said) == queued:
                    program.send_signal(signal.SIGKILL)
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()
    assert len(said) >= queued
    return said


async def test_a_node_removed_elsewhere_ends_its_saver_and_one_is_open_at_a_time(live: Live, place: str):
    async with connect(live.url) as phone, connect(live.url, "tablet") as tablet:
        await shows(phone, place, lambda _: True)
        async with phone.autosave_node(place, "N001", **_QUICK) as saver:
            with pytest.raises(ValueError, match="already"):
                await phone.autosave_node(place, "N001").__aenter__()
            await tablet.remove("nodes", f"{place}:N001")
            saver.change(content="Mine.")
            state = await reaches(saver, Saving.CONFLICT)
        with pytest.raises(ValueError, match="N001"):
            phone.autosave_node(place, "ahab")
    assert (state.row, state.ended, state.code) == (None, True, "removed")
