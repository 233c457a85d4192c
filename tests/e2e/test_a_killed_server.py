"""Two server processes over one database, one of them killed without a word."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.devices import device
from tests.harness import Program, Urls


@pytest.fixture
def programs(folder: Path, database: Urls) -> Iterator[list[Program]]:
    """Two of them, at work on the test's database."""
    found = [Program(folder / name) for name in ("one", "two")]
    try:
        for program in found:
            program.start("--database-url", database.server, "--presence-s", "1")
        yield found
    finally:
        for program in found:
            program.end(signal.SIGKILL)


@pytest.mark.long
async def test_the_devices_of_a_killed_server_are_gone_for_those_of_another(
    programs: list[Program], sql: psycopg.Connection
):
    killed, lives = programs
    at_killed, at_lives = [(p.url.replace("http", "ws") + "/api/v1/socket", p.token("ada")) for p in programs]
    async with device(*at_lives, "tablet") as tablet, device(*at_killed, "phone") as phone:
        await phone.say("presence", state={"page": 7})
        assert await phone.others() == []
        await tablet.say("presence", state=None)
        await tablet.told_of(("phone", {"page": 7}))
        await tablet.say("broadcast", topic="page", data=8)
        while (frame := await phone.hear())["type"] != "broadcast":
            pass
        assert frame["data"] == 8

        killed.end(signal.SIGKILL)
        await tablet.told_of()
    assert lives.end() == 0
    assert sql.execute("SELECT count(*) FROM presences").fetchone() == (0,)
