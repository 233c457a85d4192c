"""Signing in as an operator sets it up and takes it back: real processes, a real provider, real sockets."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.harness import Program
from tests.harness import command as run
from tests.provider import ISSUER, pem, private, providing
from tests.transports.sockets import HELLO


@asynccontextmanager
async def connected(program: Program, key: str) -> AsyncIterator[tuple[websockets.ClientConnection, Any]]:
    """A socket that has said hello with this key, and the first thing it hears."""
    async with websockets.connect(program.url.replace("http", "ws", 1) + "/api/v1/socket") as socket:
        await socket.send(json.dumps({**HELLO, "client_id": key[-8:], "token": key}))
        yield socket, json.loads(await socket.recv())


async def said(program: Program, key: str) -> Any:
    """The first thing that a socket hears which shows this key."""
    async with connected(program, key) as (_, first):
        return first


async def sent_away(socket: websockets.ClientConnection) -> None:
    async with asyncio.timeout(20):
        await socket.wait_closed()
    assert socket.close_code == 4501


async def test_a_token_that_the_operator_takes_back_ends_its_connections_in_every_server(program: Program):
    other = Program(program.folder)
    await asyncio.to_thread(program.start)
    await asyncio.to_thread(other.start)
    made = await asyncio.to_thread(program.run, "token", "--user", "ada")
    second = await asyncio.to_thread(program.token, "ada")
    [found] = re.findall(r"syncserver revoke --user ada --token-id (\S+)", made.stderr)
    first = made.stdout.strip()
    async with (
        connected(program, first) as (one, _),
        connected(other, first) as (two, _),
        connected(other, second) as (stays, _),
    ):
        taken = await asyncio.to_thread(program.run, "revoke", "--user", "ada", "--token-id", found)
        assert (taken.returncode, taken.stderr) == (0, "")
        await sent_away(one)
        await sent_away(two)
        assert (await said(other, first))["code"] == "unauthorised"
        assert stays.close_code is None
        await asyncio.to_thread(program.run, "revoke", "--user", "ada", "--all")
        await sent_away(stays)
    await asyncio.to_thread(other.end)


async def test_an_identity_provider_s_readers_come_in_and_a_key_of_the_data_folder_does_not(program: Program):
    async with providing() as provider:
        own = await asyncio.to_thread(program.token, "ada")
        await asyncio.to_thread(program.start, "--token-jwks-url", provider.url, "--token-issuer", ISSUER)
        assert (await said(program, provider.token()))["type"] == "welcome"
        assert (await said(program, own))["code"] == "unauthorised"
        provider.keys = {"next": ("EdDSA", 0)}
        await provider.stop()
        assert (await said(program, provider.token("next")))["code"] == "unauthorised"  # asked a moment ago


def test_what_cannot_be_meant_is_told_before_anything_starts(folder: Path):
    for name in ("serve", "check", "token"):
        arguments = (name, "--token-key-file", "/nothing/here", *(("--user", "ada") if name == "token" else ()))
        answer = run(*arguments, SYNCSERVER_DATA_DIR=str(folder), SYNCSERVER_PORT="0")
        assert answer.returncode == 1
        assert "SYNCSERVER_TOKEN_KEY_FILE" in answer.stderr
        assert "What to do" in answer.stderr or name == "token"
    assert not (folder / "postgresql").exists()


def test_check_says_who_signs(program: Program):
    (program.folder / "keys.pem").write_bytes(pem(private("ES256")))
    answer = program.run("check", "--token-key-file", str(program.folder / "keys.pem"))
    assert "sign-in: Readers' tokens are verified with the keys in SYNCSERVER_TOKEN_KEY_FILE." in answer.stdout
    assert answer.returncode == 0, answer


@pytest.mark.parametrize(
    "arguments",
    [(), ("--user", "ada"), ("--user", "ada", "--all", "--token-id", "x"), ("--user", "ada", "--token-id", "")],
)
def test_revoke_wants_to_know_whose_and_which(folder: Path, arguments: tuple[str, ...]):
    answer = run("revoke", *arguments, SYNCSERVER_DATA_DIR=str(folder))
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr
