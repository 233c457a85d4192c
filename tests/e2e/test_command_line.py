"""The command line as an operator meets it: it works, and where it cannot it says what is wrong and what to do."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import psycopg
import pytest
import syncserver_client

from syncserver.app.settings import Settings
from tests.harness import Program, Urls
from tests.harness import command as run


def login(database: Urls, *statements: str) -> str:
    """The owner's URL after these statements were run as owner."""
    with psycopg.connect(database.owner, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)
    return database.owner


def test_help_names_every_command():
    """As a shell runs it: a process that has imported nothing before."""
    said = subprocess.run(
        [sys.executable, "-m", "syncserver", "--help"], capture_output=True, text=True, check=True
    ).stdout
    names = (
        "serve",
        "migrate",
        "token",
        "revoke",
        "tail",
        "put",
        "check",
        "doctor",
        "rotate-epoch",
        "backup",
        "restore",
        "psql",
    )
    for name in names:
        assert name in said


def test_help_of_serve_names_every_setting_with_its_variable():
    said = run("serve", "--help", COLUMNS="200").stdout
    for f in fields(Settings):
        if f.name not in {"owner_url", "url", "token"}:  # other commands need these
            assert "--" + f.name.replace("_", "-") in said
            assert f"SYNCSERVER_{f.name.upper()}" in said


def test_the_database_that_comes_along_is_ready_to_serve(folder: Path):
    said = Program(folder).run("check")
    assert said.stdout.splitlines()[-1] == "Ready to serve.", said
    assert said.returncode == 0


def test_a_database_that_does_not_answer_is_told():
    said = run("check", SYNCSERVER_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert said.returncode == 1
    assert "cannot be reached" in said.stdout
    assert "SYNCSERVER_DATABASE_URL" in said.stdout


def test_a_foreign_database_is_migrated_only_when_asked(empty_database: Urls, folder: object):
    variables = {"SYNCSERVER_DATABASE_URL": empty_database.server, "SYNCSERVER_OWNER_URL": empty_database.owner}
    variables |= {"SYNCSERVER_DATA_DIR": str(folder), "SYNCSERVER_PORT": "0"}

    refused = run("serve", **variables)
    assert refused.returncode == 1
    assert "at migration none" in refused.stderr
    assert "syncserver migrate" in refused.stderr
    migrated = run("migrate", **variables)
    assert (migrated.returncode, migrated.stderr) == (0, "")
    checked = run("check", **variables)
    assert checked.returncode == 0, checked.stdout


def test_a_role_that_bypasses_row_level_security_is_refused(database: Urls, folder: object):
    said = run("serve", SYNCSERVER_DATABASE_URL=database.owner, SYNCSERVER_DATA_DIR=str(folder))
    assert said.returncode == 1
    assert "bypasses row-level security" in said.stderr


def test_synchronous_commit_off_is_refused(database: Urls, folder: object):
    with psycopg.connect(database.owner, autocommit=True) as connection:
        name = connection.execute("SELECT current_database()").fetchone()
        connection.execute(f"ALTER DATABASE {name[0] if name else ''} SET synchronous_commit = off")
    said = run("serve", SYNCSERVER_DATABASE_URL=database.server, SYNCSERVER_DATA_DIR=str(folder))
    assert said.returncode == 1
    assert "synchronous_commit is off" in said.stderr


def test_a_dropped_trigger_is_found(database: Urls):
    login(database, "DROP TRIGGER sync_capture ON reading_progress")
    said = run("check", SYNCSERVER_DATABASE_URL=database.server)
    assert said.returncode == 1
    assert "reading_progress lacks a trigger" in said.stdout


def test_a_port_in_use_is_told(folder: object):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = run("serve", "--port", str(taken.getsockname()[1]), "--data-dir", str(folder))
    assert said.returncode == 1
    assert "--port" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("serve", "--port", "eight"), "--port"),
        (("serve", "--log-level", "loud"), "log level"),
        (("put", "moby-dick", "--user", "ada"), "Nothing to write"),
        (("put", "moby-dick", "--percentage", "0.5"), "--user"),
        (("tail", "--once", "--url", "http://127.0.0.1:1"), "--user"),
        (("put", "x", "--percentage", "0.5", "--user", "ada", "--at", "yesterday"), "stamp"),
        (("token", "--user", ""), "subject"),
        (("doctor", "--user", "ada", "--client", "/nothing"), "/nothing cannot be read"),
    ],
)
def test_a_wrong_call_is_answered_with_a_sentence(folder: object, arguments: tuple[str, ...], sentence: str):
    said = run(*arguments, SYNCSERVER_DATA_DIR=str(folder))
    assert said.returncode == 1
    assert sentence in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_says_goodbye_and_ends_within_ten_seconds(program: Program, number: signal.Signals):
    await asyncio.to_thread(program.start)
    token = await asyncio.to_thread(program.token, "ada")
    clients = [syncserver_client.connect(program.url, token, f"device-{n}") for n in range(20)]
    for client in clients:
        client.open()
    await asyncio.gather(*(client.ready() for client in clients))

    began = time.monotonic()
    status = await asyncio.to_thread(program.end, number)
    took = time.monotonic() - began
    for client in clients:
        await client.close()

    assert status == 0
    assert took < 10


def test_a_second_server_shares_the_database_of_the_first(program: Program):
    program.start()
    other = Program(program.folder)
    other.start()
    token = program.token("ada")
    first = program.run("put", "moby-dick", "--percentage", "0.5", "--token", token)
    program.end()
    seen = other.run("tail", "--once", "--json", "--token", token)
    other.end()

    assert re.match(r"applied \(offset 1\)", first.stdout), first
    assert '"percentage":0.5' in seen.stdout
