"""A reading session that saves itself, against the real server: live on two devices, cut off, killed, lost and won."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import syncserver_client
from syncserver_client import AutoSaver, Client, Row, Saving, State

from tests.faults.proxy import Proxy
from tests.harness import Live, environment, token

_PATIENCE_S = 30
_QUICK = {"quiet_s": 0.01, "most_s": 0.05}


@pytest.fixture
async def proxy(live: Live) -> AsyncIterator[Proxy]:
    async with Proxy(live.port).running() as running:
        yield running


def connect(url: str, device: str = "phone", **more: Any) -> Client:
    quick = {"backoff_first_s": 0.05, "backoff_most_s": 0.2}
    return syncserver_client.connect(url, token("ada"), device, **{**quick, **more})


async def shows(client: Client, key: str, true: Callable[[dict[str, Any]], bool], *, pending: bool = False) -> Row:
    """Wait until the session is so."""
    async with asyncio.timeout(_PATIENCE_S), client.subscribe() as changes:
        async for change in changes:
            if change.key == key and change.value is not None and change.pending == pending and true(change.value):
                return client.rows["reading_sessions", key]
    raise AssertionError("ended")


async def reaches(saver: AutoSaver, status: Saving) -> syncserver_client.SaveState:
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


def saves(sql: psycopg.Connection, session_id: str) -> int:
    found = sql.execute("SELECT count(*) FROM session_events WHERE session_id = %s AND type = 'saved'", [session_id])
    return int((found.fetchone() or (0,))[0])


def _at(page: int, value: dict[str, Any]) -> bool:
    return bool((value["state"] or {}).get("page") == page)


async def begun(client: Client, **fields: Any) -> str:
    await client.ready()
    session_id = client.begin_reading("moby-dick", **fields)
    await shows(client, session_id, lambda _: True)
    return session_id


async def test_two_live_devices_save_into_one_session_and_see_each_other(live: Live):
    async with connect(live.url) as phone, connect(live.url, "tablet") as tablet:
        key = await begun(phone, state={"font": "serif", "page": 1})
        await shows(tablet, key, lambda _: True)
        async with phone.autosave(key, **_QUICK) as here, tablet.autosave(key, **_QUICK) as there:
            for page in range(2, 8):
                mine, theirs, other = (here, tablet, "sans") if page % 2 else (there, phone, "serif")
                mine.change(percentage=page / 100, state={"font": other, "page": page})
                row = await shows(theirs, key, partial(_at, page))
                assert row.value is not None
                assert row.value["percentage"] == page / 100
                (there if mine is here else here).take_theirs()
            await here.flush()
            assert here.state.status is there.state.status is Saving.SAVED
        assert (await phone.list_conflicts()).items == []


async def test_what_the_other_device_changed_stays_where_this_one_did_not(live: Live):
    async with connect(live.url) as phone, connect(live.url, "tablet") as tablet:
        key = await begun(phone, state={"font": "serif", "page": 1, "notes": {"a": 1}})
        await shows(tablet, key, lambda _: True)
        async with phone.autosave(key, **_QUICK) as saver:
            await tablet.patch("reading_sessions", key, {"state": {"font": "sans", "notes": {"b": 2}}})
            await shows(phone, key, lambda value: value["state"]["font"] == "sans")
            saver.change(state={"font": "serif", "page": 2, "notes": {"a": 1}})
            assert (await saver.flush()).status is Saving.SAVED
        row = await phone.get("reading_sessions", key)
    assert row is not None
    assert row.value is not None
    assert row.value["state"] == {"font": "sans", "page": 2, "notes": {"a": 1, "b": 2}}


async def test_a_place_replaces_the_other_devices_place_whole(live: Live):
    far = {"href": "2.xhtml", "type": "text/html", "text": {"before": "far"}, "locations": {"position": 9}}
    near = {"href": "1.xhtml", "type": "text/html", "title": "One", "locations": {"progression": 0.5}}
    async with connect(live.url) as phone, connect(live.url, "tablet") as tablet:
        key = await begun(phone, locator={"href": "1.xhtml", "type": "text/html", "title": "One"})
        await shows(tablet, key, lambda _: True)
        async with phone.autosave(key, **_QUICK) as saver:
            await tablet.patch("reading_sessions", key, {"locator": far})
            await shows(phone, key, lambda value: value["locator"]["href"] == "2.xhtml")
            saver.change(locator=near)
            await saver.flush()
        row = await phone.get("reading_sessions", key)
    assert row is not None
    assert row.value is not None
    assert row.value["locator"] == near


async def test_a_network_that_is_cut_in_a_burst_is_seen_and_got_over(live: Live, proxy: Proxy, sql: psycopg.Connection):
    async with connect(proxy.url) as phone, connect(live.url, "tablet") as tablet:
        key = await begun(phone)
        async with phone.autosave(key, **_QUICK) as saver:
            saver.change(percentage=0.1)
            await reaches(saver, Saving.SAVED)
            await cut_off(phone, proxy)
            for turn in range(200):
                saver.change(percentage=0.2, state={"turn": turn})
                await asyncio.sleep(0)
            state = await reaches(saver, Saving.RETRYING)
            assert (state.row, state.ended) == (None, False)
            assert phone.rows["reading_sessions", key].pending
            back(phone, proxy)
            await reaches(saver, Saving.SAVED)
        row = await shows(tablet, key, lambda value: (value["state"] or {}).get("turn") == 199)
    assert row.value is not None
    assert row.value["percentage"] == 0.2
    assert saves(sql, key) <= 3


async def test_a_save_whose_answer_is_lost_with_the_network_is_retried(proxy: Proxy, sql: psycopg.Connection):
    async with connect(proxy.url) as phone:
        key = await begun(phone)
        async with phone.autosave(key, quiet_s=0.01, most_s=_PATIENCE_S) as saver:
            proxy.swallow_answers = True
            saver.change(percentage=0.1)
            async with asyncio.timeout(_PATIENCE_S):
                await proxy.swallowed.wait()
            assert saver.state.status is Saving.SAVING
            proxy.swallow_answers = False
            proxy.down = True
            proxy.cut()
            await reaches(saver, Saving.RETRYING)
            back(phone, proxy)
            await reaches(saver, Saving.SAVED)
    assert saves(sql, key) == 1


async def test_a_server_that_does_not_answer_is_seen_though_the_network_stands(proxy: Proxy):
    async with connect(proxy.url) as phone:
        key = await begun(phone)
        async with phone.autosave(key, **_QUICK) as saver:
            proxy.swallow_answers = True
            saver.change(percentage=0.1)
            await reaches(saver, Saving.RETRYING)
            assert phone.state is State.LIVE
            proxy.swallow_answers = False
            proxy.cut()  # what is swallowed is missing for good
            await reaches(saver, Saving.SAVED)


async def test_where_sockets_do_not_work_it_saves_all_the_same(live: Live):
    poll: dict[str, Any] = {"transports": ("poll",), "poll_interval_s": 0.05}
    async with connect(live.url, **poll) as phone, connect(live.url, "tablet", **poll) as tablet:
        key = await begun(phone)
        async with phone.autosave(key, **_QUICK) as saver:
            saver.change(percentage=0.1, state={"page": 1})
            await reaches(saver, Saving.SAVED)
            await shows(tablet, key, partial(_at, 1))


async def test_what_is_answered_after_leaving_is_told_to_whoever_asks_for_acks(proxy: Proxy, tmp_path: Path):
    store = tmp_path / "store.db"
    async with connect(proxy.url, store=store) as phone:
        key = await begun(phone)
        await cut_off(phone, proxy)
        async with phone.autosave(key) as saver:
            saver.change(percentage=0.5)
        (waiting,) = phone.pending
        back(phone, proxy)
        await shows(phone, key, lambda value: value["percentage"] == 0.5)
    async with connect(proxy.url, store=store) as phone, asyncio.timeout(_PATIENCE_S):
        async for ack in phone.acks():
            if ack.mutation_id == waiting.mutation_id:
                break
    assert ack.status == "applied"


async def test_leaving_without_a_network_queues_what_is_unsaved_and_the_next_run_sends_it(proxy: Proxy, tmp_path: Path):
    store = tmp_path / "store.db"
    async with connect(proxy.url, store=store) as phone:
        key = await begun(phone, state={"page": 1})
        await cut_off(phone, proxy)
        async with phone.autosave(key) as saver:
            saver.change(state={"page": 2, "note": "x"})
        assert [m.value for m in phone.pending] == [{"state": {"page": 2, "note": "x"}}]
    async with connect(proxy.url, store=store) as phone, phone.autosave(key) as saver:
        assert saver.state.status is Saving.RETRYING
        saver.change(state={"page": 2, "note": "x"})
        assert len(phone.pending) == 1, "what is queued already is no change"
        back(phone, proxy)
        assert (await saver.flush()).status is Saving.SAVED
        row = await phone.get("reading_sessions", key)
    assert row is not None
    assert row.value is not None
    assert row.value["state"] == {"page": 2, "note": "x"}


async def _killed_after(queued: int, url: str, store: Path, key: str) -> list[list[str]]:
    """What a reader's program said until it was killed."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("reader.py")),
        *(url, token("ada"), str(store), key),
        stdout=asyncio.subprocess.PIPE,
        env={**environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert program.stdout is not None
    said: list[list[str]] = []
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while line := await program.stdout.readline():
                said.append(line.decode().split())
                if len(said) == queued:
                    program.send_signal(signal.SIGKILL)
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()
    return said


async def test_after_a_kill_the_next_run_sends_what_was_queued_once(
    proxy: Proxy, tmp_path: Path, sql: psycopg.Connection
):
    store = tmp_path / "store.db"
    async with connect(proxy.url, store=store) as phone:
        key = await begun(phone)
    proxy.down = True
    said = await _killed_after(3, proxy.url, store, key)
    assert len(said) >= 3
    proxy.down = False
    async with connect(proxy.url, store=store) as phone:
        waiting = [m.mutation_id for m in phone.pending if m.op == "patch"]
        assert waiting[: len(said)] == [name for _, name, _ in said]
        last = int(said[-1][2])
        async with phone.autosave(key) as saver:
            assert saver.row is not None
            assert saver.row.value is not None
            assert saver.row.value["state"]["page"] >= last
            assert (await saver.flush()).status is Saving.SAVED
        row = await phone.get("reading_sessions", key)
    assert row is not None
    assert row.value is not None
    assert row.value["state"]["page"] >= last
    answered = sql.execute("SELECT mutation_id::text FROM mutations").fetchall()
    assert sorted(name for (name,) in answered if name in waiting) == sorted(waiting)
    assert saves(sql, key) == len(waiting)


async def _lost(phone: Client, tablet: Client, saver: AutoSaver, proxy: Proxy) -> syncserver_client.SaveState:
    """The phone saves offline, the tablet later and first."""
    key = saver.session_id
    await cut_off(phone, proxy)
    saver.change(percentage=0.3, state={"page": 30, "font": "serif"})
    await reaches(saver, Saving.RETRYING)
    later = datetime.now(UTC) + timedelta(seconds=1)  # by more than the two devices' ideas of the time can differ
    theirs = {"percentage": 0.6, "state": {"page": 60, "theme": "night"}}
    await tablet.patch("reading_sessions", key, theirs, updated_at=later)
    back(phone, proxy)
    state = await reaches(saver, Saving.CONFLICT)
    assert state.row is not None
    assert state.row.value is not None
    assert (state.row.value["percentage"], state.row.device_id, state.ended) == (0.6, "tablet", False)
    assert state.conflict_id is not None
    return state


async def test_a_lost_conflict_is_seen_and_theirs_is_gone_on_from(live: Live, proxy: Proxy, sql: psycopg.Connection):
    async with connect(proxy.url) as phone, connect(live.url, "tablet") as tablet:
        key = await begun(phone, state={"page": 1, "font": "serif"})
        await shows(tablet, key, lambda _: True)
        async with phone.autosave(key, **_QUICK) as saver:
            await _lost(phone, tablet, saver, proxy)
            saver.change(percentage=0.31)
            fields = saver.take_theirs()
            assert (fields["percentage"], fields["state"]["page"]) == (0.6, 60)
            assert saver.state.status is Saving.SAVED
            saver.change(percentage=0.61)
            assert (await saver.flush()).status is Saving.SAVED
        row = await phone.get("reading_sessions", key)
    assert row is not None
    assert row.value is not None
    assert (row.value["percentage"], row.value["state"]["page"]) == (0.61, 60)
    assert saves(sql, key) == 2


async def test_a_lost_conflict_is_seen_and_mine_is_kept(live: Live, proxy: Proxy):
    async with connect(proxy.url) as phone, connect(live.url, "tablet") as tablet:
        key = await begun(phone, state={"page": 1, "font": "serif"})
        await shows(tablet, key, lambda _: True)
        async with phone.autosave(key, **_QUICK) as saver:
            await _lost(phone, tablet, saver, proxy)
            saver.change(percentage=0.31)
            saver.keep_mine()
            assert (await saver.flush()).status is Saving.SAVED
        row = await shows(tablet, key, lambda value: value["percentage"] == 0.31)
        assert len((await phone.list_conflicts()).items) == 1
    assert row.value is not None
    assert row.value["state"] == {"page": 30, "font": "serif", "theme": "night"}


async def test_whoever_leaves_without_choosing_loses_nothing_that_came_after(live: Live, proxy: Proxy):
    async with connect(proxy.url) as phone, connect(live.url, "tablet") as tablet:
        key = await begun(phone, state={"page": 1, "font": "serif"})
        await shows(tablet, key, lambda _: True)
        async with phone.autosave(key, **_QUICK) as saver:
            await _lost(phone, tablet, saver, proxy)
            saver.change(state={"page": 30, "font": "serif", "note": "later"})
        row = await shows(tablet, key, lambda value: "note" in value["state"])
    assert row.value is not None
    assert (row.value["state"]["page"], row.value["percentage"]) == (60, 0.6)


async def test_where_another_device_completed_the_session_saving_ends(live: Live, sql: psycopg.Connection):
    async with connect(live.url, resources=["progress"]) as phone, connect(live.url, "tablet") as tablet:
        await phone.ready()
        await tablet.ready()
        key = phone.begin_reading("moby-dick")
        await shows(tablet, key, lambda _: True)
        async with phone.autosave(key, **_QUICK) as saver:
            saver.change(percentage=0.5)
            await saver.flush()
            tablet.complete_reading(key)
            await shows(tablet, key, lambda value: value["status"] == "completed")
            saver.change(percentage=0.6)
            state = await reaches(saver, Saving.CONFLICT)
            assert (state.ended, state.code) == (True, "final")
            assert state.row is not None
            assert state.row.value is not None
            assert state.row.value["status"] == "completed"
            for turn in range(20):
                saver.change(percentage=0.7 + turn / 100)
            with pytest.raises(syncserver_client.Rejected, match="final"):
                saver.keep_mine()
            saver.take_theirs()
            assert (await saver.flush()).ended
            assert phone.pending == []
    (asked,) = sql.execute("SELECT count(*) FROM mutations").fetchone() or (0,)
    assert asked == 4, "begun, saved, completed, and once in vain"


async def test_what_is_unsaved_is_queued_before_the_session_is_completed(live: Live):
    async with connect(live.url) as phone:
        key = await begun(phone)
        async with phone.autosave(key) as saver:
            saver.change(percentage=1.0)
            phone.complete_reading(key)
            row = await shows(phone, key, lambda value: value["status"] == "completed")
            assert saver.state.status is Saving.SAVED
    assert row.value is not None
    assert row.value["percentage"] == 1.0


async def test_a_session_removed_elsewhere_ends_it_too(live: Live):
    async with connect(live.url) as phone, connect(live.url, "tablet") as tablet:
        key = await begun(phone)
        await shows(tablet, key, lambda _: True)
        async with phone.autosave(key, **_QUICK) as saver:
            await tablet.remove("reading_sessions", key)
            saver.change(percentage=0.6)
            state = await reaches(saver, Saving.CONFLICT)
    assert (state.row, state.ended, state.code) == (None, True, "removed")


async def test_what_the_server_will_not_have_is_said_and_the_next_change_goes_on(live: Live):
    async with connect(live.url) as phone:
        key = await begun(phone)
        async with phone.autosave(key, **_QUICK) as saver:
            saver.change(percentage=2.0)
            state = await reaches(saver, Saving.REFUSED)
            assert state.code == "invalid"
            saver.change(percentage=0.2)
            assert (await saver.flush()).status is Saving.SAVED


async def test_who_closes_the_client_first_is_told_what_could_not_be_queued(live: Live):
    client = connect(live.url)
    async with client:
        key = await begun(client)
        saver = client.autosave(key)
        await saver.__aenter__()
        with pytest.raises(ValueError, match="already"):
            await client.autosave(key).__aenter__()
        saver.change(percentage=0.5)
    with pytest.raises(syncserver_client.Closed):
        await saver.__aexit__(None, None, None)
    with pytest.raises(syncserver_client.Closed):
        saver.change(percentage=0.6)


async def test_without_a_store_too_what_is_queued_at_the_end_is_sent_while_the_client_lives(live: Live, proxy: Proxy):
    async with connect(proxy.url) as phone, connect(live.url, "tablet") as tablet:
        key = await begun(phone)
        await cut_off(phone, proxy)
        async with phone.autosave(key) as saver:
            saver.change(percentage=0.5)
        back(phone, proxy)
        await shows(tablet, key, lambda value: value["percentage"] == 0.5)


async def test_actions_without_a_network_show_at_once_and_work_later(proxy: Proxy, tmp_path: Path):
    store = tmp_path / "store.db"
    async with connect(proxy.url, store=store) as phone:
        key = await begun(phone, state={"page": 1}, percentage=0.5)
        await cut_off(phone, proxy)
        phone.pause_reading(key)
        row = phone.rows["reading_sessions", key]
        assert row.pending
        assert row.value is not None
        assert (row.value["status"], row.value["state"]) == ("paused", {"page": 1})
    async with connect(proxy.url, store=store) as phone:
        assert phone.rows["reading_sessions", key].value == row.value
        assert phone.resume_reading(key) == key
        assert (phone.rows["reading_sessions", key].value or {})["status"] == "active"
        phone.complete_reading(key)
        back(phone, proxy)
        await shows(phone, key, lambda value: value["status"] == "completed" and value["completed_at"] is not None)
        with pytest.raises(syncserver_client.Rejected, match="final"):
            phone.resume_reading(key)


async def test_another_device_goes_on_in_a_session_of_its_own(live: Live):
    async with connect(live.url) as phone, connect(live.url, "tablet") as tablet:
        key = await begun(phone, title="Moby-Dick", state={"page": 7}, percentage=0.5)
        await shows(tablet, key, lambda _: True)
        further = tablet.resume_reading(key)
        assert further != key
        shown = tablet.rows["reading_sessions", further].value or {}
        assert (shown["title"], shown["state"], shown["status"]) == ("Moby-Dick", {"page": 7}, "active")
        row = await shows(phone, key, lambda value: value["resumed_as"] == further)
        assert (row.value or {})["status"] == "paused"
        await shows(phone, further, lambda value: value["resumed_from"] == key and value["state"] == {"page": 7})
        assert tablet.resume_reading(key) == further
        again = phone.resume_reading(key)
        assert again not in (key, further)
        await shows(tablet, again, lambda value: value["resumed_from"] == further)


async def test_an_app_that_will_not_have_the_log_leaves_it_out(live: Live):
    async with connect(live.url) as phone, connect(live.url, "tablet", resources=["reading_sessions"]) as tablet:
        key = await begun(phone)
        await shows(tablet, key, lambda _: True)
        kinds = {resource for resource, _ in phone.rows}
        assert "session_events" in kinds
        assert {resource for resource, _ in tablet.rows} == {"reading_sessions"}
