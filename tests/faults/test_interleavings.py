"""The short form of `interleavings.py`, and that it finds what it is there to find."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver import resources
from syncserver.core.resolver import never
from syncserver.storage import reading
from syncserver.storage.resource import Catalog, Effects, Written
from tests.faults import interleavings, witness
from tests.harness import Urls

_SEEDS, _FEWER = 60, 15
_SESSIONS = resources.catalog()["reading_sessions"]


@pytest.fixture
def watched(database: Urls, sql: psycopg.Connection) -> Urls:
    witness.install(sql)
    return database


async def test_two_devices_that_write_one_session_at_once_leave_nothing_half_made(watched: Urls):
    first = random.randrange(10**6)
    report = await interleavings.run(watched, first, _SEEDS)
    assert not report.wrong, f"{report.line()} (from seed {first})\n" + "\n".join(report.wrong[:20])
    assert report.completed > _SEEDS / 3
    assert report.again > 0, "no transaction was killed"
    assert report.looks > _SEEDS / 10


# -- mistakes that have to be found ------------------------------------------


async def _finish_nothing(*_: object) -> list[tuple[str, str]]:
    return []


async def _unfinished(connection: AsyncConnection, written: Sequence[Written]) -> Effects:
    assert _SESSIONS.effects
    return replace(await _SESSIONS.effects(connection, written), follows=())


async def _done_twice(connection: AsyncConnection, written: Sequence[Written]) -> Effects:
    assert _SESSIONS.effects
    await _SESSIONS.effects(connection, written)
    return await _SESSIONS.effects(connection, written)


async def found(urls: Urls, **mistake: Any) -> str:
    wrong = replace(_SESSIONS, **mistake)
    catalog = Catalog([wrong if resource is _SESSIONS else resource for resource in resources.catalog().values()])
    report = await interleavings.run(urls, random.randrange(10**6), _FEWER, catalog=catalog)
    return "\n".join(report.wrong)


async def test_a_session_that_is_completed_without_a_reading_is_found(watched: Urls, monkeypatch):
    monkeypatch.setattr(reading, "finish", _finish_nothing)
    wrong = await found(watched)
    assert "is completed and has no reading" in wrong
    assert "a completed session without its reading" in wrong


async def test_a_reading_of_a_publication_that_is_not_finished_is_found(watched: Urls):
    wrong = await found(watched, effects=_unfinished)
    assert "its publication is not finished" in wrong
    assert "a reading of a publication that is not finished" in wrong


async def test_a_session_that_is_completed_and_changes_all_the_same_is_found(watched: Urls):
    wrong = await found(watched, final=never)
    assert "a completed session was changed" in wrong


async def test_what_is_told_twice_is_found(watched: Urls):
    assert "events too many or too few" in await found(watched, effects=_done_twice)
