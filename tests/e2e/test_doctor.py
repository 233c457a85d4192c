"""`syncserver doctor`, `rotate-epoch` and a restore as an operator meets them, with devices connected."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx
import psycopg
import pytest
import syncserver_client
from syncserver_client import Client

from syncserver.app import advice, held
from syncserver.storage import diagnosis
from tests.harness import Live, Program, Urls, command, token
from tests.storage.broken import past_the_triggers, put, triggers_disabled
from tests.storage.workspace_rows import component, key, workspace

_PATIENCE_S = 20
Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def run(database: Urls) -> Run:
    """A command on the test's database, as an operator who has both roles."""
    variables = {"SYNCSERVER_DATABASE_URL": database.server, "SYNCSERVER_OWNER_URL": database.owner}
    return lambda *arguments, **more: command(*arguments, **{**variables, **more})


@pytest.fixture
def written(sql: psycopg.Connection) -> psycopg.Connection:
    """Ada has a and c; b was removed."""
    put(sql, "a", "b", "c")
    sql.execute("DELETE FROM reading_progress WHERE publication_id = 'b'")
    return sql


async def holds(client: Client, *keys: str) -> None:
    """Wait until the client holds these rows and no others."""
    async with asyncio.timeout(_PATIENCE_S), client.subscribe() as changes:
        if {key for _, key in client.rows} == set(keys):
            return
        async for _ in changes:
            if {key for _, key in client.rows} == set(keys):
                return


def test_every_fault_has_a_meaning_and_an_advice():
    assert set(advice.OF) == {*diagnosis.Fault, *held.Fault}


@pytest.mark.usefixtures("written")
def test_where_nothing_is_wrong_it_says_so(run: Run):
    said = run("doctor", "--user", "ada")
    assert (said.returncode, said.stderr) == (0, "")
    assert "user:ada: epoch" in said.stdout
    assert "head 4, floor 0" in said.stdout
    assert "progress, log: 2 rows, digest " in said.stdout
    assert said.stdout.splitlines()[-1] == "Nothing is wrong."


@pytest.mark.usefixtures("written")
def test_an_owner_that_is_not_there_is_told_so(run: Run):
    said = run("doctor", "--owner", "user:Ada")
    assert "This owner has no rows" in said.stdout
    assert "no rows" not in run("doctor", "--owner", "user:ada").stdout


def test_what_is_wrong_is_told_with_its_meaning_and_what_to_do(run: Run, written):
    with triggers_disabled(written):
        written.execute("DELETE FROM reading_progress WHERE publication_id = 'a'")
    written.execute("ALTER TABLE reading_progress DISABLE TRIGGER sync_capture")
    said = run("doctor", "--owner", "user:ada")
    assert said.returncode == 1
    assert "BAD   no_row: the row went past the triggers" in said.stdout
    assert "progress a: the entry says put, the row is not there" in said.stdout
    assert "BAD   trigger: writes to this table reach no device" in said.stdout
    assert "sync_capture on reading_progress" in said.stdout
    assert said.stdout.count("What to do: ") == 2


def test_a_key_cannot_play_with_the_terminal(run: Run, written):
    with past_the_triggers(written):
        put(written, "\x1b[2J")
    said = run("doctor", "--user", "ada")
    assert "\x1b" not in said.stdout
    assert "\\x1b[2J" in said.stdout


def test_programs_get_one_object(run: Run, written):
    with past_the_triggers(written):
        put(written, "d")
    said = run("doctor", "--user", "ada", "--json")
    found = json.loads(said.stdout)
    assert said.returncode == 1
    assert (found["owner"], found["head"], found["floor"], found["mended"]) == ("user:ada", 4, 0, None)
    assert found["digests"]["progress"]["log"]["rows"] == 2
    [finding] = found["findings"]
    assert (finding["fault"], finding["resource"], finding["key"]) == ("no_entry", "progress", "d")
    assert finding["meaning"]
    assert finding["advice"]
    assert found["remaining"] == found["findings"]


def test_mending_leaves_nothing_wrong_but_what_it_cannot_mend(run: Run, written):
    with past_the_triggers(written):
        put(written, "d")
    written.execute("ALTER TABLE reading_progress DISABLE TRIGGER sync_stamp")
    said = run("doctor", "--user", "ada", "--mend")
    assert said.returncode == 1
    assert "Mended: a fresh change was recorded of 1 rows." in said.stdout
    assert said.stdout.splitlines()[-1] == "Still wrong: trigger."
    written.execute("ALTER TABLE reading_progress ENABLE TRIGGER sync_stamp")
    again = run("doctor", "--user", "ada", "--mend", "--json")
    assert (again.returncode, json.loads(again.stdout)["findings"]) == (0, [])


def test_the_server_s_role_may_look_but_not_mend(run: Run, written, database: Urls):
    with past_the_triggers(written):
        put(written, "d")
    looked = run("doctor", "--user", "ada", SYNCSERVER_OWNER_URL=database.server)
    mended = run("doctor", "--user", "ada", "--mend", SYNCSERVER_OWNER_URL=database.server)
    rotated = run("rotate-epoch", SYNCSERVER_OWNER_URL=database.server)
    assert "no_entry" in looked.stdout
    for refused in (mended, rotated):
        assert (refused.returncode, "SYNCSERVER_OWNER_URL" in refused.stderr) == (1, True)
        assert "Traceback" not in refused.stderr


def test_a_database_without_tables_or_none_at_all_is_answered_with_a_sentence(run: Run, empty_database: Urls):
    bare = run("doctor", "--user", "ada", SYNCSERVER_OWNER_URL=empty_database.owner)
    away = run("rotate-epoch", SYNCSERVER_OWNER_URL="postgresql://nobody@127.0.0.1:1/none")
    assert "syncserver migrate" in bare.stderr
    assert "does not answer" in away.stderr
    assert (bare.returncode, away.returncode) == (1, 1)
    assert "Traceback" not in bare.stderr + away.stderr


def test_what_is_wrong_in_a_workspace_is_told_and_mended(run: Run, sql: psycopg.Connection):
    workspace(sql)
    sql.execute("DELETE FROM nodes WHERE node_id = 'N001'")
    with past_the_triggers(sql):
        component(sql, "late")
        component(sql, "kept", of="N003")
        component(sql, "stray", of="bogus")
    sql.execute("DELETE FROM nodes WHERE node_id = 'N002'")
    sql.execute("UPDATE node_numbers SET last = 0")
    sql.execute("ALTER TABLE node_components DROP CONSTRAINT node_components_rank_check")
    said = run("doctor", "--user", "ada")
    assert (said.returncode, said.stderr) == (1, "")
    assert "BAD   home_removed: what the row belongs to was removed" in said.stdout
    assert f"node_components {key('late')}: its node_id names {key('N001')} of nodes, which is not there" in said.stdout
    mended = run("doctor", "--user", "ada", "--mend", "--json")
    found = json.loads(mended.stdout)
    faults = ["constraint", "home_lost", "home_removed", "homeless", "no_entry", "number"]
    assert sorted({one["fault"] for one in found["findings"]}) == faults
    assert all(one["meaning"] and one["advice"] for one in found["findings"])
    assert (mended.returncode, found["repaired"], found["mended"]) == (1, 2, 2), (
        "N003 made anew is past what was removed"
    )
    assert [(one["fault"], one["key"]) for one in found["remaining"]] == [
        ("homeless", key("stray")),
        ("constraint", None),
    ]
    components = sql.execute("SELECT component_id FROM node_components ORDER BY 1").fetchall()
    assert components == [("kept",), ("stray",)]


# -- with devices ------------------------------------------------------------


async def test_a_device_shows_what_was_mended(live: Live, run: Run, sql):
    put(sql, "a", "b")
    async with syncserver_client.connect(live.url, token("ada"), "phone") as phone:
        await holds(phone, "a", "b")
        with past_the_triggers(sql):
            put(sql, "c")
            sql.execute("DELETE FROM reading_progress WHERE publication_id = 'a'")
        said = await asyncio.to_thread(run, "doctor", "--user", "ada", "--mend")
        assert said.returncode == 0, said
        await holds(phone, "b", "c")


async def test_what_tail_prints_is_what_the_doctor_compares(live: Live, run: Run, written, tmp_path: Path):
    path = tmp_path / "held.jsonl"
    shown = await asyncio.to_thread(
        run, "tail", "--once", "--json", SYNCSERVER_URL=live.url, SYNCSERVER_TOKEN=token("ada")
    )
    path.write_text(shown.stdout)
    same = await asyncio.to_thread(run, "doctor", "--user", "ada", "--client", str(path), "--json")
    written.execute("UPDATE reading_progress SET percentage = 0.5 WHERE publication_id = 'a'")
    written.execute("DELETE FROM reading_progress WHERE publication_id = 'c'")
    put(written, "d")
    other = await asyncio.to_thread(run, "doctor", "--user", "ada", "--client", str(path), "--json")

    found: dict[str, Any] = json.loads(same.stdout)
    assert (same.returncode, found["findings"]) == (0, [])
    assert found["digests"]["progress"]["client"] == found["digests"]["progress"]["log"]
    found = json.loads(other.stdout)
    assert other.returncode == 1
    assert [(one["fault"], one["key"]) for one in found["findings"]] == [
        ("client_another", "a"),
        ("client_too_many", "c"),
        ("client_missing", "d"),
    ]
    assert found["digests"]["progress"]["client"] != found["digests"]["progress"]["log"]


async def test_after_rotate_epoch_every_device_fetches_again_and_nothing_is_lost(live: Live, run: Run, sql):
    put(sql, "a", "b")
    async with syncserver_client.connect(live.url, token("ada"), "phone") as phone:
        await holds(phone, "a", "b")
        with past_the_triggers(sql):  # as a backup put back: rows and entries are other ones, offsets the same
            sql.execute("DELETE FROM reading_progress WHERE publication_id = 'a'")
            sql.execute("DELETE FROM changes WHERE key = 'a'")
        said = await asyncio.to_thread(run, "rotate-epoch")
        await holds(phone, "b")
        await phone.put("progress", "c", {"percentage": 0.5})
        await holds(phone, "b", "c")

    assert (said.returncode, said.stderr) == (0, "")
    assert "fetches everything again, once" in said.stdout
    assert "Nothing is lost" in said.stdout


@pytest.mark.long
def test_after_a_recovery_from_a_backup_the_log_has_a_new_epoch_by_itself(program: Program):
    """PostgreSQL ends a recovery on a timeline of its own: what devices hold may be newer than what came back."""
    program.start()
    headers = {"Authorization": f"Bearer {program.token('ada')}"}
    program.run("put", "moby-dick", "--percentage", "0.5", "--user", "ada")
    before = httpx.get(f"{program.url}/api/v1/changes", headers=headers)
    program.end()
    data = program.folder / "postgresql" / "data"
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write("restore_command = 'sleep 0.5; false'\n")  # it answers reads long before it takes writes
    signal = data / "recovery.signal"
    signal.touch()
    shutil.chown(signal, data.owner(), data.group())

    program.start()
    resumed = httpx.get(f"{program.url}/api/v1/changes", params={"cursor": before.json()["cursor"]}, headers=headers)
    again = httpx.get(f"{program.url}/api/v1/changes", headers=headers)

    assert not signal.exists()
    assert (resumed.status_code, resumed.json()["reason"]) == (410, "epoch")
    assert [row["key"] for row in again.json()["rows"]] == ["moby-dick"]
