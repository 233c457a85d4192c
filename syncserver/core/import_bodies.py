"""What is said of an import over HTTP."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from syncserver.core import values
from syncserver.core.clock import Stamp

_EXAMPLE: dict[str, Any] = {
    "import_id": "018f6f2e-4f0a-7c3a-9d3e-0a1b2c3d4e5f",
    "session_id": "7f9c1c1e-3b8a-4d55-9c41-2f5e0b7a6c1d",
    "state": "refused",
    "created_at": "2026-11-22T08:15:00.000000Z",
    "seen_at": "2026-11-22T08:15:01.250000Z",
    "dry_run": False,
    "existing": "refuse",
    "phase": "reading",
    "rows_read": 3,
    "rows_written": 0,
    "rows": None,
    "nodes": 2,
    "components": 0,
    "relationships": 0,
    "removed": 0,
    "errors": [{"file": "relationships", "line": 2, "column": "to_node", "reason": "there is no such node"}],
    "more_errors": False,
    "detail": None,
    "retry": False,
}


class Fault(values.Model):
    """What is wrong in a file. `line`: the first is 1; `column`: null where it is the record as a whole."""

    file: Literal["nodes", "relationships"]
    line: int
    column: str | None
    reason: str


class ImportAnswer(values.Model):
    """How an import stands.

    `rows_read`: records of the files. `rows`: that are to be written, as far as that is known; `rows_written`: of them.
    `removed`: components that nodes written over have no more. `more_errors`: there are others. `retry`: whether the
    same, sent again, may do better.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    import_id: values.Id
    session_id: values.Id
    state: Literal["running", "done", "refused", "failed", "cancelled"]
    created_at: Stamp
    seen_at: Stamp
    dry_run: bool
    existing: Literal["refuse", "replace"]
    phase: Literal["reading", "writing", "done"]
    rows_read: int
    rows_written: int
    rows: int | None
    nodes: int
    components: int
    relationships: int
    removed: int
    errors: list[Fault] = Field(max_length=1_000)
    more_errors: bool
    detail: str | None
    retry: bool
