"""What this client can foresee of a write's outcome, to show it before the server has worked it out. Pure.

Of most actions nothing; of a reading session's, its status. A new session that goes on from another one is shown at
the place and in the state of that one, though it leaves them out: the server knows them better.
"""

from __future__ import annotations

from collections.abc import Mapping

from syncserver_client.model import Row, RowId
from syncserver_client.mutation import Mutation
from syncserver_client.wire import JsonObject

SESSIONS = "reading_sessions"
_WRITES = frozenset({"put", "patch", "remove"})
_STATUS = {"pause": "paused", "resume": "active", "abandon": "abandoned", "complete": "completed"}
_INHERITED = ("title", "locator", "percentage", "state")


def write(mutation: Mutation, rows: Mapping[tuple[str, str], Row]) -> tuple[str, JsonObject | None] | None:
    """The op (put, patch or remove) and value that show what will come of it; None where that is not known."""
    if mutation.op in _WRITES:
        new = mutation.op == "put" and mutation.resource == SESSIONS and mutation.row_id not in rows
        return mutation.op, _begun(mutation.value or {}, rows) if new else mutation.value
    status = _STATUS.get(mutation.op) if mutation.resource == SESSIONS else None
    return ("patch", {**(mutation.value or {}), "status": status}) if status is not None else None


def _begun(value: JsonObject, rows: Mapping[tuple[str, str], Row]) -> JsonObject:
    former = rows.get(RowId(SESSIONS, str(value.get("resumed_from"))))
    left = (former.value or {}) if former is not None else {}
    return {"status": "active", **{name: left[name] for name in _INHERITED if name in left}, **value}
