"""Imports that run, or ran: one row each, so that any process can tell how one goes, and end it.

An import that runs says so again and again; one that has said nothing for a while runs no more. What it had written
until then is gone with its transaction: a row says `done` in the very transaction that keeps what was imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

SILENT_S = 30
"""After this long without a word nobody runs it any more."""


@dataclass(frozen=True, slots=True)
class Name:
    """Which import: its owner, its session and its own id."""

    owner: str
    session_id: str
    id: str


@dataclass(frozen=True, slots=True)
class Kept:
    """An import as its row has it. `silent`: it says that it runs, and nobody runs it."""

    state: str
    cancelling: bool
    silent: bool
    report: dict[str, Any]
    created_at: datetime
    seen_at: datetime


_SILENT = "seen_at < clock_timestamp() - make_interval(secs => :silent)"
_GIVE_UP = sa.text(f"""
    UPDATE imports SET state = 'failed'
    WHERE owner = :owner AND session_id = :session AND state = 'running' AND {_SILENT}
""")
_BEGIN = sa.text("""
    INSERT INTO imports (owner, id, session_id, state, report, seen_at, created_at)
    SELECT s.owner, CAST(:id AS uuid), s.id, 'running', CAST(:report AS jsonb), clock_timestamp(), clock_timestamp()
    FROM sessions s WHERE s.owner = :owner AND s.id = CAST(:session AS uuid)
    ON CONFLICT DO NOTHING
""")
_BEAT = sa.text("""
    UPDATE imports SET report = CAST(:report AS jsonb), seen_at = clock_timestamp()
    WHERE owner = :owner AND id = :id AND state = 'running' RETURNING cancelling
""")
_END = sa.text("""
    UPDATE imports SET state = :state, report = CAST(:report AS jsonb), seen_at = clock_timestamp()
    WHERE owner = :owner AND id = :id AND state = 'running'
""")
_CANCEL = sa.text("""
    UPDATE imports SET cancelling = cancelling OR state = 'running'
    WHERE owner = :owner AND session_id = :session AND id = :id
""")
_FIND = sa.text(f"""
    SELECT state, cancelling, state = 'running' AND {_SILENT}, report, created_at, seen_at
    FROM imports WHERE owner = :owner AND session_id = :session AND id = :id
""")
_RUNNING = sa.text(f"""
    SELECT count(*) FROM imports
    WHERE owner = :owner AND session_id = :session AND state = 'running' AND NOT {_SILENT}
""")


async def begin(connection: AsyncConnection, name: Name, report: Mapping[str, Any]) -> bool:
    """It runs from now on; False where another of this session does, or there is one with this id, or no session."""
    await connection.execute(_GIVE_UP, {"owner": name.owner, "session": name.session_id, "silent": SILENT_S})
    return (await connection.execute(_BEGIN, {**_named(name), "report": _json(report)})).rowcount > 0


async def beat(connection: AsyncConnection, name: Name, report: Mapping[str, Any]) -> bool | None:
    """It still runs, and got so far: whether it is to end; None where it does not count as running any more."""
    arguments = {"owner": name.owner, "id": name.id, "report": _json(report)}
    cancelling: bool | None = (await connection.execute(_BEAT, arguments)).scalar_one_or_none()
    return cancelling


async def end(connection: AsyncConnection, name: Name, state: str, report: Mapping[str, Any]) -> bool:
    """It is over; False where it did not count as running any more."""
    arguments = {"owner": name.owner, "id": name.id, "state": state, "report": _json(report)}
    return (await connection.execute(_END, arguments)).rowcount > 0


async def cancel(connection: AsyncConnection, name: Name) -> bool:
    """Whoever runs it is to end it; False where there is no such import."""
    return (await connection.execute(_CANCEL, _named(name))).rowcount > 0


async def find(connection: AsyncConnection, name: Name) -> Kept | None:
    """The import, or None."""
    row = (await connection.execute(_FIND, {**_named(name), "silent": SILENT_S})).one_or_none()
    return Kept(*row) if row is not None else None


async def running(connection: AsyncConnection, owner: str, session_id: str) -> bool:
    """Whether an import of this session runs."""
    arguments = {"owner": owner, "session": session_id, "silent": SILENT_S}
    return bool((await connection.execute(_RUNNING, arguments)).scalar_one())


def _named(name: Name) -> dict[str, str]:
    return {"owner": name.owner, "session": name.session_id, "id": name.id}


def _json(report: Mapping[str, Any]) -> str:
    return orjson.dumps(report).decode()
