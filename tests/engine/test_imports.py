"""Imports in the engine: how much is taken, how many at once, and what is forgotten."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import IO, Any
from uuid import uuid4

import psycopg
import pytest

from syncserver.core.actor import Device
from syncserver.core.csv_rows import NODES
from syncserver.core.errors import NotFound, RateLimited
from syncserver.engine.checking import Bounds, Upload
from syncserver.engine.decide import Sender
from syncserver.engine.expiry import Expiry
from syncserver.engine.imports import Asked, Imports
from syncserver.engine.sessions import Sessions
from syncserver.engine.whole import CHUNK, Whole
from syncserver.storage.database import Database
from syncserver.storage.imports import Name
from syncserver.storage.resource import Catalog
from tests.harness import SECRET

PATIENCE_S = 30


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def imports(server: Database, catalog: Catalog) -> AsyncIterator[Imports]:
    bounds = Bounds(rows=CHUNK * 2 + 1, steps=CHUNK * 3, record_bytes=1_000)
    found = Imports(server, catalog, Whole(server, catalog, now), bounds=bounds, at_once=1)
    yield found
    await found.close()


@pytest.fixture
async def name(server: Database) -> Name:
    begun = await Sessions(server, SECRET, now).begin()
    return Name(f"session:{begun.id}", str(begun.id), str(uuid4()))


def another(name: Name) -> Name:
    return Name(name.owner, name.session_id, str(uuid4()))


async def run(imports: Imports, name: Name, text: str) -> dict[str, Any]:
    """The report of an import of nodes, at its end."""
    received: list[IO[bytes]] = []

    async def receive() -> Sequence[Upload]:
        received.append(tempfile.TemporaryFile())  # noqa: SIM115 - the import closes it
        received[0].write(text.encode())
        return [Upload(NODES, received[0])]

    await imports.begin(Sender(name.owner, Device("d"), "d"), name, Asked(), receive)
    report = await imports.told(name, PATIENCE_S)
    assert all(file.closed for file in received)
    return report


async def test_more_than_a_chunk_is_written_in_one_transaction(imports: Imports, name: Name, sql: psycopg.Connection):
    report = await run(imports, name, "title\n" + "x\n" * (CHUNK * 2 + 1))
    assert (report["state"], report["rows"], report["rows_written"]) == ("done", CHUNK * 2 + 1, CHUNK * 2 + 1)
    assert sql.execute("SELECT count(DISTINCT xmin::text), count(*) FROM nodes").fetchone() == (1, CHUNK * 2 + 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("title\n" + "x\n" * (CHUNK * 2 + 2), f"more than {CHUNK * 2 + 1} records in one import"),
        ("components\n" + '"[{""type"":""a""},{""type"":""a""}]"\n' * 201, f"more than {CHUNK * 3} rows"),
        ("title\n" + "x" * 1_001 + "\n", "a record of more than 1000 bytes"),
    ],
)
async def test_more_than_an_import_may_be_is_refused(
    imports: Imports, name: Name, sql: psycopg.Connection, text: str, reason: str
):
    report = await run(imports, name, text)
    assert (report["state"], report["errors"][-1]["reason"].startswith(reason)) == ("refused", True)
    assert sql.execute("SELECT FROM nodes").rowcount == 0


async def test_only_so_many_are_received_at_once(imports: Imports, name: Name):
    come, begun = asyncio.Event(), asyncio.Event()

    async def receive() -> Sequence[Upload]:
        begun.set()
        await come.wait()
        return []

    sender = Sender(name.owner, Device("d"), "d")
    first = asyncio.create_task(imports.begin(sender, name, Asked(), receive))
    await begun.wait()
    with pytest.raises(RateLimited):
        await run(imports, another(name), "title\n")
    come.set()
    await first
    assert (await imports.told(name, PATIENCE_S))["state"] == "done"
    assert (await run(imports, another(name), "title\n"))["state"] == "done"


async def test_a_session_that_is_not_there_takes_nothing(imports: Imports, name: Name):
    with pytest.raises(NotFound):
        await run(imports, Name(name.owner, str(uuid4()), str(uuid4())), "title\n")
    with pytest.raises(NotFound):
        await imports.cancel(name)


async def test_old_ones_are_forgotten(imports: Imports, name: Name, server: Database, sql: psycopg.Connection):
    await run(imports, name, "title\n")
    sql.execute("SELECT set_config('syncserver.owners', %s, false)", [f'{{"{name.owner}"}}'])
    sql.execute("UPDATE imports SET created_at = now() - interval '31 days'")
    recent = another(name)
    await run(imports, recent, "title\n")
    await Expiry(server, now, ledger=timedelta(days=30)).forget()
    with pytest.raises(NotFound):
        await imports.told(name)
    assert (await imports.told(recent))["state"] == "done"
